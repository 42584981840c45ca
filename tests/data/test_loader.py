import multiprocessing
from dataclasses import replace

import pytest
import torch
from support.images_of import images_of

from deepcluster.data import broken as broken_module
from deepcluster.data import loader as loader_module
from deepcluster.data.images import MemoryImages
from deepcluster.data.loader import EpochLoader, feature_batches, n_workers
from deepcluster.data.sources.load import load
from deepcluster.data.view_settings import View
from deepcluster.data.views import FeatureView, TrainView, feature_view, train_view

MEAN, STD = [0.5], [0.25]


def memory(n=23, side=8):
    images = torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return MemoryImages(images=images, samples=[str(i) for i in range(n)])


def view(on_files=False):
    return TrainView(8, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD, on_files=on_files)


class Epochs:
    """before_epoch: counts its calls, gives a new order for every epoch."""

    def __init__(self, n, start=0):
        self.n, self.epoch, self.calls = n, start - 1, 0

    def __call__(self):
        self.calls += 1
        self.epoch += 1
        return self.epoch, torch.randperm(self.n, generator=torch.Generator().manual_seed(self.epoch))


def loader(images, before_epoch, *, train=None, n=None, workers=0, persistent=False, batch_size=5, **options):
    return EpochLoader(
        images,
        train or view(),
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=persistent,
        seed=7,
        n_per_epoch=n or len(images),
        before_epoch=before_epoch,
        **options,
    )


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_nothing_happens_before_the_first_batch_is_asked_for():
    before = Epochs(23)
    loading = loader(memory(), before)
    batches = iter(loading)
    assert before.calls == 0
    next(batches)
    assert before.calls == 1


def test_an_epoch_shows_its_indices_in_order():
    images, before = memory(), Epochs(23)
    batches = list(loader(images, before))
    expected = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([batch.indices for batch in batches]), expected)
    assert torch.equal(torch.cat([batch.images for batch in batches]), images.images[expected])
    assert all(batch.draws.shape == (len(batch.indices), 6) for batch in batches)


@pytest.fixture
def on_disk(make_folder):
    root = make_folder([f"{i}.png" for i in range(11)], mode="L")
    make_folder(["wide.png"], mode="L", width=30)
    settings = images_of("folder", root=str(root), cache_dir="none", batch_size=5)
    return settings, load(*settings, "train")


@pytest.mark.parametrize(("workers", "persistent"), [(2, False), (2, True)])
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_batches_do_not_depend_on_the_workers(on_disk, workers, persistent, where):
    images = memory(12) if where == "memory" else on_disk[1]
    train = view(on_files=where == "disk")
    plain, worked = (
        loader(images, Epochs(12), train=train),
        loader(images, Epochs(12), train=train, workers=workers, persistent=persistent),
    )
    epochs = [list(plain) for _ in range(3)]
    assert not equal(epochs[0], epochs[1])
    assert all(equal(epoch, list(worked)) for epoch in epochs)


def test_an_image_is_cropped_anew_in_every_epoch():
    loading = loader(memory(), lambda: (next(epochs), torch.arange(23)))
    epochs = iter(range(2))
    first, second = (torch.cat([batch.draws for batch in loading]) for _ in range(2))
    assert len(torch.cat([first, second]).flatten().unique()) > 0.99 * 2 * 23 * 6


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, True)])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_resumed_epoch_goes_on_where_it_was(workers, persistent, done):
    whole = loader(memory(), Epochs(23, start=4), workers=workers, persistent=persistent)
    epochs = [list(whole), list(whole)]
    broken_off = loader(memory(), Epochs(23, start=4))
    batches = iter(broken_off)
    for _ in range(done):
        next(batches)
    state = broken_off.state_dict()
    assert state["batches_done"] == done
    resumed = loader(memory(), Epochs(23, start=4), workers=workers, persistent=persistent)
    resumed.load_state_dict(state)
    assert equal(list(resumed), epochs[0][done:])
    assert resumed.state_dict() == {
        "epoch": 4,
        "batches_done": 5,
        "n_batches": 5,
        "world_size": 1,
        "images_before": 0,
    }
    assert equal(list(resumed), epochs[1])


def test_after_a_checkpoint_at_the_last_batch_the_next_epoch_is_whole():
    loading = loader(memory(), Epochs(23))
    first, second = list(loading), list(loading)
    for start in (0, 1):  # whichever epoch the trainer says it is in
        resumed = loader(memory(), Epochs(23, start=start))
        resumed.load_state_dict({"epoch": 0, "batches_done": 5})
        assert equal(list(resumed), second if start else first)


def test_a_position_in_another_epoch_skips_nothing():
    resumed = loader(memory(), Epochs(23, start=1))
    resumed.load_state_dict({"epoch": 0, "batches_done": 3})
    assert len(list(resumed)) == len(resumed) == 5


def test_persistent_workers_forget_an_epoch_that_was_broken_off():
    worked = loader(memory(), Epochs(23), workers=2, persistent=True)
    next(iter(worked))
    plain = loader(memory(), Epochs(23, start=1))
    assert equal(list(worked), list(plain))


@pytest.mark.parametrize(("n", "world_size"), [(23, 2), (24, 2), (23, 4)])
def test_ranks_share_an_epoch_in_equal_parts(n, world_size):
    parts = [list(loader(memory(24), Epochs(n), n=n, rank=rank, world_size=world_size)) for rank in range(world_size)]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    for rank, batches in enumerate(parts):
        seen = torch.cat([batch.indices for batch in batches])
        assert torch.equal(seen, order[rank::world_size][: n // world_size])
    assert len({tuple(len(batch.indices) for batch in batches) for batches in parts}) == 1
    draws = torch.cat([batch.draws for batches in parts for batch in batches])
    assert len(draws.unique()) > 0.99 * draws.numel()  # ranks do not share random numbers


@pytest.mark.parametrize(
    ("n", "sizes"), [(20, [5, 5, 5, 5]), (22, [5, 5, 5, 5, 2]), (21, [5, 5, 5, 6]), (3, [3]), (6, [6])]
)
def test_a_last_batch_of_one_image_joins_the_one_before(n, sizes):
    loading = loader(memory(), Epochs(n), n=n)
    assert [len(batch.indices) for batch in loading] == sizes and len(loading) == len(sizes)


def test_the_global_random_state_is_left_alone():
    loading = loader(memory(), Epochs(23), workers=2)
    before = torch.get_rng_state()
    list(loading)
    list(feature_batches(memory(), FeatureView(8, None, MEAN, STD), torch.arange(9), 4, 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_feature_batches_come_in_the_given_order(on_disk, workers):
    _, files = on_disk
    for images in (memory(12), files):
        features = feature_view(View(size=8), images, MEAN, STD)
        indices = torch.tensor([11, 3, 3, 0, 7])
        batches = list(feature_batches(images, features, indices, 2, workers))
        assert torch.equal(torch.cat([batch.indices for batch in batches]), indices)
        seen = torch.cat([features(batch.images) for batch in batches])
        alone = [FeatureView(8, None, MEAN, STD)(images.read(int(i))[None]) for i in indices]
        assert (seen - torch.cat(alone)).abs().max() < 1.6 / 255 / 0.25


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_later_is_named(on_disk, workers):
    images = on_disk[1]
    path = images.root / "4.png"
    path.write_bytes(path.read_bytes()[:60])
    before = set(multiprocessing.active_children())
    loading = loader(images, Epochs(12), train=view(on_files=True), workers=workers)
    with pytest.raises(ValueError, match=r"^'4\.png': .*reading\.on_broken=skip"):
        list(loading)
    assert not set(multiprocessing.active_children()) - before  # left in a cycle, each would take 5 s to end


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_met_late_is_grey_and_named_once_if_it_may_be(on_disk, workers, caplog):
    _, images = on_disk
    whole = list(loader(images, Epochs(12), train=view(on_files=True)))
    images.on_broken = "skip"
    path = images.root / "4.png"
    path.write_bytes(path.read_bytes()[:60])
    loading = loader(images, Epochs(12), train=view(on_files=True), workers=workers)
    epochs = [list(loading), list(loading)]
    features = feature_view(View(size=8), images, MEAN, STD)
    epochs += [list(feature_batches(images, features, torch.arange(12), 5, workers))]
    position = images.samples.index("4.png")
    for batch in [batch for batches in epochs for batch in batches]:
        grey = (batch.images == 128).flatten(1).all(1)
        assert torch.equal(grey, batch.indices == position)
    for before, after in zip(whole, epochs[0], strict=True):  # the others are what they were, in their places
        others = before.indices != position
        assert torch.equal(before.indices, after.indices) and torch.equal(before.draws, after.draws)
        assert torch.equal(before.images[others], after.images[others])
    assert caplog.text.count("4.png") == 1 and list(images.broken_later) == [position]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_gone_stops_the_run_even_if_broken_ones_are_skipped(on_disk, workers):
    images = on_disk[1]
    images.on_broken = "skip"
    (images.root / "4.png").unlink()
    with pytest.raises(ValueError, match=r"4\.png'.*No such file.*put it back.*resume=RUN"):
        list(loader(images, Epochs(12), train=view(on_files=True), workers=workers))


def test_too_many_broken_images_stop_the_run(on_disk, monkeypatch):
    images = on_disk[1]
    images.on_broken = "skip"
    monkeypatch.setattr(broken_module, "_MOST", (2, 0.1))
    for i in range(2):
        (images.root / f"{i}.png").write_bytes(b"")
    list(loader(images, Epochs(12), train=view(on_files=True)))
    (images.root / "2.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2\.png'.*number 3 of 12, too many.*reading\.check=all"):
        list(loader(images, Epochs(12), train=view(on_files=True)))


@pytest.mark.parametrize("workers", [0, 2])
def test_colours_have_the_same_numbers_whatever_the_workers(on_disk, workers):
    colours = train_view(View(size=8, grey_probability=0.5, blur_probability=0.5), on_disk[1], MEAN, STD)
    plain = list(loader(on_disk[1], Epochs(12), train=view(on_files=True)))
    batches = list(loader(on_disk[1], Epochs(12), train=colours, workers=workers))
    expected = list(loader(on_disk[1], Epochs(12), train=colours))
    assert equal(batches, expected) and batches[0].draws.shape == (5, 15)
    for one, two in zip(plain, batches, strict=True):
        assert torch.equal(one.images, two.images) and torch.equal(one.draws, two.draws[:, :6])


def test_files_need_a_view_that_crops_in_workers(on_disk):
    with pytest.raises(ValueError, match="on_files"):
        loader(on_disk[1], Epochs(12))


def test_workers_are_chosen_by_where_the_images_are(on_disk):
    _, files = on_disk
    small = {"batch_size": 1, "size": 8}
    assert n_workers(None, memory(), **small) == 0
    assert n_workers(None, files, **small) >= 1 and n_workers(None, files, **small, n_processes=10_000) == 1
    assert n_workers(3, memory(), **small) == 3


def test_training_batches_of_files_go_through_the_view(on_disk):
    _, images = on_disk
    train = train_view(View(size=8), images, MEAN, STD)
    for batch in loader(images, Epochs(12), train=train):
        assert batch.images.dtype == torch.uint8 and batch.images.shape[1:] == (1, 8, 8)
        assert train(batch.images, batch.draws).isfinite().all()


@pytest.mark.parametrize("sizes", [(1, 2), (2, 1), (2, 4), (3, 2), (1, 2, 4, 1)])
def test_an_epoch_goes_on_with_other_numbers_of_processes_at_the_same_image(sizes):
    n = 97
    seen, state = [], None
    for stage, size in enumerate(sizes):
        ranks = [loader(memory(n), Epochs(n, start=4), n=n, rank=rank, world_size=size) for rank in range(size)]
        for one in ranks:
            if state is not None:
                one.load_state_dict(state)
        last_stage = stage == len(sizes) - 1
        running = [iter(one) for one in ranks]
        while True:
            batches = [next(one, None) for one in running]
            if batches[0] is None:
                break
            seen += [batch.indices for batch in batches]
            if not last_stage:  # killed after one batch
                break
        state = ranks[0].state_dict()
        assert all(one.state_dict() == state for one in ranks)
    assert state["batches_done"] == state["n_batches"]  # for Lightning the epoch is over
    shown = torch.cat(seen)
    assert len(shown.unique()) == len(shown)  # none twice
    left_out = n - len(shown)
    assert left_out < sum(sizes)  # less than one per process and change: ranks show equally many


def test_another_number_of_processes_goes_on_after_the_images_that_were_shown():
    state = {"epoch": 4, "batches_done": 2, "n_batches": 5, "world_size": 1}  # images 0 to 9 of 23 in the order
    order = torch.randperm(23, generator=torch.Generator().manual_seed(4))
    for rank in range(2):
        resumed = loader(memory(), Epochs(23, start=4), rank=rank, world_size=2)
        resumed.load_state_dict(state)
        shown = torch.cat([batch.indices for batch in resumed])
        assert torch.equal(shown, order[10:][rank::2][:6])
        following = torch.cat([batch.indices for batch in resumed])
        assert len(following) == 11  # the next epoch is a whole one


def test_when_too_few_images_are_left_for_all_processes_a_few_come_twice():
    state = {"epoch": 4, "batches_done": 4, "n_batches": 5, "world_size": 1}  # 3 of 23 are left
    resumed = loader(memory(), Epochs(23, start=4), rank=3, world_size=4)
    resumed.load_state_dict(state)
    assert len(list(resumed)) == 1


def test_at_an_epochs_end_another_number_of_processes_may_go_on():
    resumed = loader(memory(), Epochs(23, start=5))
    resumed.load_state_dict({"epoch": 4, "batches_done": 7, "n_batches": 7, "world_size": 2})
    assert equal(list(resumed), list(loader(memory(), Epochs(23, start=5))))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error", [ValueError("image 3: 2 channels;\nset it"), OSError(5, "Input/output error", "x.png")]
)
def test_what_fails_in_a_worker_is_told_as_in_the_process_itself(error, workers):
    def broken(_):
        raise error

    failing = view()
    failing.on_files = True
    images = memory()
    images.read = broken
    with pytest.raises(type(error)) as caught:
        list(loader(images, Epochs(23), train=failing, workers=workers))
    assert str(caught.value) == str(error)


def test_reading_processes_fit_into_the_shared_memory(
    on_disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """64 MB in a container by default: a batch that does not fit there ends the process with "Bus error"."""
    files = replace(on_disk[1], n_channels=3)
    batch, batch_bytes = {"batch_size": 256, "size": 224}, 256 * 3 * 224**2  # 38.5 MB
    monkeypatch.setattr(loader_module, "n_cores", lambda: 4)
    monkeypatch.setattr(loader_module, "free_shared_memory", lambda: 9 * batch_bytes)
    assert n_workers(None, files, **batch) == 4 and not caplog.records
    monkeypatch.setattr(loader_module, "free_shared_memory", lambda: 6 * batch_bytes)
    assert n_workers(None, files, **batch) == 2  # 2 ready for each, and one in use
    assert "4 reading processes need about 0.3 GB of shared memory" in caplog.text and "--shm-size" in caplog.text
    monkeypatch.setattr(loader_module, "free_shared_memory", lambda: 64_000_000)
    assert n_workers(None, files, **batch) == 0
    with pytest.raises(ValueError, match=r"0.3 GB of shared memory, 64 MB are free.*lower reading.num_workers"):
        n_workers(3, files, **batch)
    assert n_workers(0, files, **batch) == 0
    monkeypatch.setattr(loader_module, "free_shared_memory", lambda: None)  # not Linux
    assert n_workers(3, files, **batch) == 3
