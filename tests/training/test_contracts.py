"""The order of an epoch and exact resume (docs/design.md, contracts 1, 2, 6, 7), with workers, where order matters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support import tiny
from torch import Tensor

from deepcluster.clustering.history import read_assignments
from deepcluster.clustering.pic import PIC
from deepcluster.data.sampler import Sampler
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.system.seeding import generator
from deepcluster.training.checkpointing import LastCheckpoint
from deepcluster.training.schedule import Schedule

WORKERS = pytest.mark.parametrize(
    ("num_workers", "persistent"), [(0, False), (2, False), (2, True)], ids=["0 workers", "2", "2 persistent"]
)


def assert_every_epoch_trains_on_its_own_assignment(run: tiny.Run, epochs: list[int]) -> None:
    """Indices and labels of each epoch, worked out from the assignment that the epoch's start wrote to disk."""
    history = read_assignments(run.folder)
    for epoch in epochs:
        labels, k = torch.from_numpy(history.labels[history.epochs.index(epoch)]), history.k[epoch]
        draw = generator(run.reassign.seed, "sampler", epoch)
        expected = run.reassign.sampler.indices(labels, k, tiny.N_IMAGES, draw)
        indices, used = run.seen.of_epoch(epoch)
        assert torch.equal(indices, expected), f"epoch {epoch} drew from another assignment"
        assert torch.equal(used, labels[expected]), f"epoch {epoch} trained on other labels"


def assert_same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert a.keys() == b.keys() and not different


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tiny.Run:
    """The uninterrupted run, without workers."""
    return tiny.build(tmp_path_factory.mktemp("whole")).fit()


@WORKERS
def test_each_epoch_of_a_fresh_run_trains_on_its_own_assignment(
    tmp_path: Path, num_workers: int, persistent: bool, whole: tiny.Run
) -> None:
    run = tiny.build(tmp_path, num_workers=num_workers, persistent_workers=persistent).fit()
    assert_every_epoch_trains_on_its_own_assignment(run, [0, 1, 2])
    assert_same_weights(run.weights(), whole.weights())  # and the number of workers changes nothing


def test_assignments_differ_between_epochs(whole: tiny.Run) -> None:
    """Else the tests here could not tell an old assignment from a new one."""
    history = read_assignments(whole.folder)
    assert history.epochs == [0, 1, 2]
    assert (history.labels[0] != history.labels[1]).any() and (history.labels[1] != history.labels[2]).any()


def save_at_last_batch(trainer: pl.Trainer, batch_idx: int) -> None:
    if batch_idx + 1 == trainer.num_training_batches and trainer.current_epoch == 1:
        checkpoint = trainer.checkpoint_callback
        assert isinstance(checkpoint, LastCheckpoint)
        trainer.save_checkpoint(checkpoint.path)


@WORKERS
@pytest.mark.parametrize(
    ("kill_after", "every_n_steps", "on_batch"),
    [
        ((0, 2), 2, None),
        ((1, 3), 2, None),
        ((2, 0), None, None),
        ((1, 5), None, save_at_last_batch),
    ],
    ids=["mid-epoch 0", "mid-epoch 1", "first batch after an epoch's end", "at the last batch"],
)
def test_killed_and_resumed_equals_uninterrupted(
    tmp_path: Path,
    num_workers: int,
    persistent: bool,
    kill_after: tuple[int, int],
    every_n_steps: int | None,
    on_batch: Callable[[pl.Trainer, int], None] | None,
    whole: tiny.Run,
) -> None:
    options: dict[str, Any] = {
        "num_workers": num_workers,
        "persistent_workers": persistent,
        "every_n_steps": every_n_steps,
    }
    killed = tiny.build(tmp_path, **options, kill_after=kill_after, on_batch=on_batch)
    with pytest.raises(tiny.Killed):
        killed.fit()
    resumed = tiny.build(tmp_path, **options).fit(resume=True)
    first = resumed.seen.batches[0][0]
    assert_every_epoch_trains_on_its_own_assignment(resumed, list(range(first + 1, 3)))
    assert_same_weights(resumed.weights(), whole.weights())
    ours, theirs = read_assignments(tmp_path), read_assignments(whole.folder)
    assert ours.epochs == theirs.epochs and (ours.labels == theirs.labels).all()


def test_resumed_in_mid_epoch_shows_only_the_batches_that_were_left(tmp_path: Path, whole: tiny.Run) -> None:
    with pytest.raises(tiny.Killed):
        tiny.build(tmp_path, every_n_steps=2, kill_after=(1, 4)).fit()
    resumed = tiny.build(tmp_path, every_n_steps=2).fit(resume=True)
    assert [(epoch, number) for epoch, number, _, _ in resumed.seen.batches] == [
        (1, 4), (1, 5), *[(2, number) for number in range(6)]
    ]  # fmt: skip
    for ours, theirs in zip(resumed.seen.batches, whole.seen.batches[10:], strict=True):
        assert torch.equal(ours[2], theirs[2]) and torch.equal(ours[3], theirs[3])


def test_killed_in_the_middle_of_a_clustering_resumes_exactly(
    tmp_path: Path, whole: tiny.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tiny.build(tmp_path)
    assign = killed.reassign.clusterer.reassign

    def dies(*args: Any, moment: str, **kwargs: Any) -> Any:
        if moment == "epoch 2":
            raise tiny.Killed
        return assign(*args, moment=moment, **kwargs)

    monkeypatch.setattr(killed.reassign.clusterer, "reassign", dies)
    with pytest.raises(tiny.Killed):
        killed.fit()
    assert_same_weights(tiny.build(tmp_path).fit(resume=True).weights(), whole.weights())


def test_trained_in_two_runs_equals_trained_in_one(tmp_path: Path, whole: tiny.Run) -> None:
    tiny.build(tmp_path, max_epochs=1).fit()
    assert_same_weights(tiny.build(tmp_path, max_epochs=3).fit(resume=True).weights(), whole.weights())


# A number of clusters that varies ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def varying(tmp_path_factory: pytest.TempPathFactory) -> tiny.Run:
    """An uninterrupted run with PIC, whose K differs from epoch to epoch (17, 18, 19)."""
    run = tiny.build(tmp_path_factory.mktemp("varying"), clustering=PIC(n_neighbours=2)).fit()
    k = read_assignments(run.folder).k
    assert len(set(k)) == 3 and run.module.head.capacity == tiny.N_IMAGES // 2 >= max(k), k
    return run


def test_each_epoch_trains_on_as_many_clusters_as_were_found(varying: tiny.Run) -> None:
    assert_every_epoch_trains_on_its_own_assignment(varying, [0, 1, 2])
    k, head = read_assignments(varying.folder).k[-1], varying.module.head
    assert head.n_active == k
    assert (head.linear.weight[:k].abs().sum(1) > 0).all() and (head.linear.bias[:k] != 0).all()
    assert (head.linear.weight[k:] == 0).all() and (head.linear.bias[k:] == 0).all()


@WORKERS
@pytest.mark.parametrize("kill_after", [(0, 2), (1, 3), (2, 0)], ids=str)
def test_a_varying_number_of_clusters_resumes_exactly(
    tmp_path: Path, num_workers: int, persistent: bool, kill_after: tuple[int, int], varying: tiny.Run
) -> None:
    options: dict[str, Any] = {
        "num_workers": num_workers,
        "persistent_workers": persistent,
        "every_n_steps": 2,
        "clustering": PIC(n_neighbours=2),
    }
    with pytest.raises(tiny.Killed):
        tiny.build(tmp_path, **options, kill_after=kill_after).fit()
    resumed = tiny.build(tmp_path, **options).fit(resume=True)
    assert_same_weights(resumed.weights(), varying.weights())  # which hold the number of the head's rows in use
    ours, theirs = read_assignments(tmp_path), read_assignments(varying.folder)
    assert ours.k == theirs.k and (ours.labels == theirs.labels).all() and ours.objective == theirs.objective


def test_more_clusters_than_room_are_merged_and_counted_also_after_a_resume(tmp_path: Path) -> None:
    with pytest.raises(tiny.Killed):
        tiny.build(tmp_path, clustering=PIC(max_k=3), kill_after=(1, 0)).fit()
    resumed = tiny.build(tmp_path, clustering=PIC(max_k=3)).fit(resume=True)
    assert read_assignments(tmp_path).k == [3, 3, 3]
    whole = tiny.build(tmp_path / "whole", clustering=PIC(max_k=3)).fit()
    assert resumed.reassign.n_merged == whole.reassign.n_merged > 3
    assert resumed.reassign.latest["cluster/n_merged"] > 0


def test_dropout_resumes_exactly(tmp_path: Path) -> None:
    def net() -> SmallAlexNet:
        return SmallAlexNet(1, 16, channels=[4, 4, 4, 4, 4], feature_dim=16, hidden=16, sobel=True)

    uninterrupted = tiny.build(tmp_path / "a", max_epochs=2, dropout_net=net).fit()
    with pytest.raises(tiny.Killed):
        tiny.build(tmp_path / "b", max_epochs=2, dropout_net=net, every_n_steps=1, kill_after=(1, 2)).fit()
    resumed = tiny.build(tmp_path / "b", max_epochs=2, dropout_net=net, every_n_steps=1).fit(resume=True)
    assert_same_weights(resumed.weights(), uninterrupted.weights())


@pytest.mark.parametrize("schedule", [Schedule(every=2), Schedule(halt_after=1)], ids=["every 2", "once"])
def test_epochs_without_a_reassignment_keep_labels_and_draw_anew(tmp_path: Path, schedule: Schedule) -> None:
    run = tiny.build(tmp_path, max_epochs=2, schedule=schedule).fit()
    assert read_assignments(tmp_path).epochs == [0]
    (first, first_labels), (second, second_labels) = run.seen.of_epoch(0), run.seen.of_epoch(1)
    assert not torch.equal(first, second)
    by_image = dict(zip(first.tolist(), first_labels.tolist(), strict=True))
    assert all(
        by_image.get(i, label) == label for i, label in zip(second.tolist(), second_labels.tolist(), strict=True)
    )


def test_schedule_survives_a_resume(tmp_path: Path) -> None:
    with pytest.raises(tiny.Killed):
        tiny.build(tmp_path, max_epochs=4, schedule=Schedule(every=2), kill_after=(1, 0)).fit()
    tiny.build(tmp_path, max_epochs=4, schedule=Schedule(every=2)).fit(resume=True)
    assert read_assignments(tmp_path).epochs == [0, 2]


@pytest.mark.parametrize("epochs", [0.5, 1.0, 2.0])
def test_epoch_length_is_the_fraction_of_the_images(tmp_path: Path, epochs: float) -> None:
    run = tiny.build(tmp_path, max_epochs=2, schedule=Schedule(epochs=epochs)).fit()
    assert [len(run.seen.of_epoch(e)[0]) for e in (0, 1)] == [int(96 * epochs)] * 2


def test_the_epoch_with_stable_labels_is_the_last_also_after_a_resume(tmp_path: Path) -> None:
    schedule = Schedule(stable_nmi=0.01, stable_patience=1, stable_ends_training=True)
    run = tiny.build(tmp_path, max_epochs=9, schedule=schedule).fit()
    assert read_assignments(tmp_path).epochs == [0, 1]
    assert run.trainer.current_epoch == 2 and len(run.seen.of_epoch(1)[0]) == tiny.N_IMAGES
    resumed = tiny.build(tmp_path, max_epochs=9, schedule=schedule).fit(resume=True)
    assert not resumed.seen.batches
    assert_same_weights(resumed.weights(), run.weights())


@pytest.mark.parametrize("kind", ["uniform", "proportional", "official"])
def test_every_sampler_trains(tmp_path: Path, kind: str) -> None:
    run = tiny.build(tmp_path, max_epochs=1, sampler=Sampler(kind=kind)).fit()
    assert len(run.seen.of_epoch(0)[0]) == tiny.N_IMAGES


def test_checkpoints_hold_tensors_and_plain_containers_only(whole: tiny.Run) -> None:
    content = torch.load(whole.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["epoch"] == 2


def test_pseudo_labels_are_no_buffer(whole: tiny.Run) -> None:
    """DDP would send a buffer to every process at every step."""
    assert not [name for name, _ in whole.module.named_buffers() if "pseudo" in name]
    assert isinstance(whole.module.pseudo_labels, Tensor)


def test_gradients_can_be_clipped_under_mixed_precision(tmp_path: Path, whole: tiny.Run) -> None:
    options = {"gradient_clip_val": 1e-6, "precision": "bf16-mixed"}
    clipped = tiny.build(tmp_path, max_epochs=1, trainer=options).fit()
    start = tiny.build(tmp_path / "start").weights()
    moved = [(clipped.weights()[name] - start[name]).abs().max() for name in ("backbone.neck.fc1.weight",)]
    assert 0 < moved[0] < 1e-4
