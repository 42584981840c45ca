"""Every method stands what the loop stands: exact resume, workers, labels of its own."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from support.tiny import Method
from support.tiny_methods import CO_TEACHING, MLP, SELA, SWAV, V2

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import read_assignments
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.metrics import nmi
from deepcluster.data.images import MemoryImages
from deepcluster.data.sampler import Sampler
from deepcluster.features.bank import BankRows
from deepcluster.features.other_rows import OtherSource, UsedRows
from deepcluster.features.rows import Rows
from deepcluster.features.settings import Extraction
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.training.bank_fill import fill_bank
from deepcluster.training.head_settings import LinearSettings
from deepcluster.training.monitor_settings import Monitor


@dataclass(kw_only=True)
class Toy(UsedRows):
    """Rows that say in which corner an image's blob is."""

    kind: str = "toy"


def corners(images: MemoryImages) -> OtherSource:
    places = torch.arange(len(images)) % tiny.K
    return OtherSource(BankRows(torch.nn.functional.one_hot(places, tiny.K).float()), tiny.K, "toy")


MATCHED = dict(
    method=Method(head=LinearSettings(redraw=False)), clustering=KMeans(k=[6, 4], n_iter=5, match=True, start="labels")
)
FIRST = dict(method=Method(other_rows=Toy(reassignments=2), other=corners))
BESIDE = dict(method=Method(other_rows=Toy(reassignments=0, n_beside=2, fade_epochs=2.0), other=corners))
METHODS: dict[str, dict[str, Any]] = {
    "deepcluster_v2": V2,
    "swav": SWAV,
    "sela": SELA,
    "matched": MATCHED,
    "first": FIRST,
    "beside": BESIDE,
    "co_teaching": CO_TEACHING,
}


def same(one: tiny.Run, other: tiny.Run) -> bool:
    mine, theirs = one.weights(), other.weights()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture(scope="module", params=list(METHODS))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], tiny.Run]:
    """A method's settings, and a run of three epochs that nothing interrupted."""
    settings = METHODS[request.param]
    return settings, tiny.build(tmp_path_factory.mktemp(request.param), **settings).fit()


def test_it_learns(whole: tuple[dict[str, Any], tiny.Run]) -> None:
    settings, run = whole
    untrained = tiny.build(run.folder / "untrained", **settings).weights()
    moved = {name.split(".")[0] for name, value in run.weights().items() if not torch.equal(value, untrained[name])}
    assert "backbone" in moved and ("embedding" in moved) == ("embedding.1.weight" in untrained)


@pytest.mark.parametrize("killed_after", [(0, 2), (1, 3), (2, 0)])
def test_killed_in_an_epoch_it_resumes_exactly(
    whole: tuple[dict[str, Any], tiny.Run], tmp_path: Path, killed_after: tuple[int, int]
) -> None:
    settings, run = whole
    killed = tiny.build(tmp_path, every_n_steps=1, kill_after=killed_after, **settings)
    with pytest.raises(tiny.Killed):
        killed.fit()
    assert same(tiny.build(tmp_path, **settings).fit(resume=True), run)


def test_workers_change_nothing(whole: tuple[dict[str, Any], tiny.Run], tmp_path: Path) -> None:
    settings, run = whole
    assert same(tiny.build(tmp_path, num_workers=2, **settings).fit(), run)


def test_nothing_is_said_of_a_healthy_run(
    whole: tuple[dict[str, Any], tiny.Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tiny.build(tmp_path, max_epochs=4, **whole[0])
    tiny.watch(run, Monitor(every_n_epochs=2))
    run.fit()
    assert not [record for record in caplog.records if "health" in record.name]


# What only one of them does -------------------------------------------------------------------------------------------


def built(name: str, folder: Path, on_batch: Callable[..., None] | None = None, **changes: Any) -> tiny.Run:
    return tiny.build(folder, on_batch=on_batch, **{**METHODS[name], **changes})


def test_the_centroids_of_the_bank_are_v2s_head_and_stay_during_an_epoch(tmp_path: Path) -> None:
    heads: list[list[torch.Tensor]] = []
    run = built("deepcluster_v2", tmp_path, max_epochs=1)
    run.seen.on_batch = lambda trainer, number: heads.append([v.clone() for v in run.module.head.vectors])
    run.fit()
    centroids = [assignment.centroids for assignment in run.reassign.assignments if assignment is not None]
    assert len(centroids) == 3 and len({float(c.sum()) for c in centroids}) == 3
    for at_step in heads:
        assert all(torch.allclose(v, c, atol=1e-6) for v, c in zip(at_step, centroids, strict=True))


def test_v2_clusters_what_the_last_epoch_left_in_the_bank(tmp_path: Path) -> None:
    run = built("deepcluster_v2", tmp_path, max_epochs=1).fit()
    bank = run.module.bank
    assert bank is not None and bank.written.min() > 0  # every row is a step's, none the first fill's
    norms = bank.rows.float().norm(dim=2)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-2)
    run.reassign._reassign(run.module, 1)
    for h, assignment in enumerate(run.reassign.assignments):
        assert assignment is not None and assignment.space == "bank"
        nearest = (bank.rows[h % 2].float() @ assignment.centroids.T).argmax(dim=1)
        assert torch.equal(nearest, assignment.labels)


def test_a_last_batch_of_one_image_does_not_stop_the_first_fill(tmp_path: Path) -> None:
    run = built("deepcluster_v2", tmp_path)
    run.reassign.clusterer.extraction = Extraction(batch_size=5)  # BatchNorm cannot train on the 96th image alone
    bank = run.module.bank
    assert bank is not None
    fill_bank(bank, run.module, run.reassign.clusterer, seed=1)
    assert bool((bank.written == 0).all()) and not torch.equal(bank.rows[0], bank.rows[1])


def test_the_first_fill_depends_on_nothing_that_was_drawn_before(tmp_path: Path) -> None:
    def with_dropout() -> SmallAlexNet:
        return SmallAlexNet(1, 16, channels=(4, 4, 8, 8, 8), hidden=32, feature_dim=16, sobel=False)

    rows = []
    for n_drawn in (0, 5):
        run = built("deepcluster_v2", tmp_path / str(n_drawn), dropout_net=with_dropout)
        torch.rand(n_drawn)
        bank = run.module.bank
        assert bank is not None
        fill_bank(bank, run.module, run.reassign.clusterer, seed=1)
        rows.append(bank.rows)
    assert torch.equal(*rows)


def test_swav_clusters_nothing_while_it_trains(tmp_path: Path) -> None:
    run = built("swav", tmp_path).fit()
    assert run.reassign.version == -1 and not list(tmp_path.glob("assignments/*.npz"))
    run.reassign.final(run.module.backbone, device=torch.device("cpu"))
    assert [file.name for file in tmp_path.glob("assignments/*.npz")] == ["final.npz"]
    assert built("swav", tmp_path, method=replace(SWAV["method"], rows=Rows(of="bank"))).module.bank is None


def test_sela_clusters_the_scores_of_each_labeling_and_writes_a_file_of_each(tmp_path: Path) -> None:
    run = built("sela", tmp_path, max_epochs=2).fit()
    for assignment in run.reassign.assignments:
        assert assignment is not None and assignment.space == "scores"
        assert torch.equal(assignment.centroids, torch.eye(tiny.K))
    second = read_assignments(tmp_path, labeling=1)
    assert second.epochs == [0, 1] and (second.labels[1] == run.reassign.assignments[1].labels.numpy()).all()
    each = [run.reassign.latest[f"cluster/nmi_previous_labeling_{h}"] for h in (0, 1)]
    assert each[1] == pytest.approx(nmi(*torch.from_numpy(second.labels)))
    assert sum(each) / 2 == pytest.approx(run.reassign.latest["cluster/nmi_previous"])


@pytest.mark.parametrize("of", ["embedding", "scores"])
def test_rows_of_a_pass_are_those_of_the_network_in_evaluation_and_leave_its_statistics(
    tmp_path: Path, of: str
) -> None:
    head = LinearSettings(redraw=of == "embedding")
    run = built("sela", tmp_path, max_epochs=1, method=Method(embedding=MLP, rows=Rows(of=of), head=head))
    module, clusterer, device = run.module, run.reassign.clusterer, torch.device("cpu")
    embedding = module.embedding
    assert isinstance(embedding, torch.nn.Sequential)
    embedding[2].running_mean.fill_(0.3)  # type: ignore[union-attr, operator]  # not those of any batch
    module.train()
    before, all_images = run.weights(), torch.arange(tiny.N_IMAGES)
    (rows,) = clusterer._own_rows(module.network, device)
    found = torch.cat([part for _, part in rows.source.stream(all_images)])
    assert module.training and embedding.training
    assert all(torch.equal(value, before[name]) for name, value in run.weights().items())
    features = torch.cat(
        [part for _, part in clusterer.feature_pass(module.backbone, device=device).stream(all_images)]
    )
    with torch.no_grad():
        expected = embedding.eval()(features)
        if of == "scores":
            expected = torch.cat([scores.log_softmax(dim=1) for scores in module.head.scores(expected)], dim=1)
            assert rows.columns == [slice(0, tiny.K), slice(tiny.K, 2 * tiny.K)]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_other_rows_serve_the_first_reassignments_then_the_networks_own(tmp_path: Path) -> None:
    labels: dict[int, torch.Tensor] = {}
    run = built("first", tmp_path, max_epochs=4)

    def keep(trainer: Any, number: int) -> None:
        assert run.reassign.assignment is not None
        labels[trainer.current_epoch] = run.reassign.assignment.labels

    run.seen.on_batch = keep
    run.fit()
    places = torch.arange(tiny.N_IMAGES) % tiny.K
    assert all(len(labels[0][places == place].unique()) == 1 for place in range(tiny.K))
    assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[1], labels[2])
    assert run.reassign.nmi_previous[1] == 0  # nothing was clustered anew, so that nothing agrees or is stable


def test_a_head_whose_clusters_stay_is_not_drawn_anew(tmp_path: Path) -> None:
    heads: dict[int, torch.Tensor] = {}
    run = built("first", tmp_path, max_epochs=3)
    weight = run.module.head.linear.weight

    def keep(trainer: Any, number: int) -> None:
        heads.setdefault(2 * trainer.current_epoch, weight.detach().clone())  # after the epoch's first step
        heads[2 * trainer.current_epoch + 1] = weight.detach().clone()  # after its last

    run.seen.on_batch = keep
    run.fit()
    steps = [float((heads[later] - heads[earlier]).norm()) for earlier, later in [(1, 2), (3, 4)]]
    assert steps[0] < 0.5 * steps[1]  # one step against a redraw


def test_heads_beside_learn_labels_that_never_change_and_fade(tmp_path: Path) -> None:
    run = built("beside", tmp_path).fit()
    beside = run.module.beside
    assert beside is not None and beside.labels is not None and beside.labels.shape == (2, tiny.N_IMAGES)
    assert [beside.weight_at(epoch) for epoch in (0, 1, 2, 3)] == [1.0, 0.5, 0.0, 0.0]
    assert run.reassign.assignment is not None and run.reassign.assignment.space == "features"


def test_rows_that_serve_reassignments_and_heads_beside_are_passed_over_once(tmp_path: Path) -> None:
    passes: list[int] = []

    def counted(images: MemoryImages) -> OtherSource:
        passes.append(len(images))
        return corners(images)

    rows = Toy(reassignments=None, n_beside=2)
    told: list[dict[str, float]] = []
    run = tiny.build(tmp_path, max_epochs=2, method=Method(other_rows=rows, other=counted))
    run.seen.on_batch = lambda trainer, number: told.append(run.reassign.latest)
    run.fit()
    beside = run.module.beside
    assert passes == [tiny.N_IMAGES] and beside is not None and beside.labels is not None
    every = [run.reassign.assignments[0].labels, *beside.labels]  # type: ignore[union-attr]
    assert all(nmi(every[0], labels) == pytest.approx(1) for labels in every)
    assert not torch.equal(beside.labels[0], beside.labels[1])  # from different seeds
    assert not {"cluster/nmi_previous", "cluster/moved_share"} & told[-1].keys() and "cluster/k" in told[-1]


@dataclass(kw_only=True)
class SomeUnlabelled(KMeans):
    """k-means that gives every fifth image no label."""

    def _fit(self, rows: torch.Tensor, **arguments: Any) -> Assignment:
        found = super()._fit(rows, **arguments)
        return replace(found, labels=torch.where(torch.arange(len(found.labels)) % 5 == 0, -1, found.labels))


@pytest.mark.parametrize("kind", ["uniform", "proportional"])
def test_images_that_a_clustering_leaves_without_a_label_are_not_learned_from(tmp_path: Path, kind: str) -> None:
    clustering = SomeUnlabelled(k=tiny.K, n_iter=5, match=True)
    run = tiny.build(tmp_path, max_epochs=2, clustering=clustering, sampler=Sampler(kind=kind))
    counted: list[float] = []

    def count(trainer: Any, number: int) -> None:
        run.module.train_metrics.count()
        counted.append(float(run.module.train_metrics.sums[2]))

    run.seen.on_batch = count
    run.fit()
    shown, labels = run.seen.of_epoch(1)
    assert bool((shown % 5 == 0).any()) == (kind == "proportional")
    assert counted[-1] == int((labels >= 0).sum()) < len(shown) + (kind == "uniform")
    final, numbers = run.reassign.final(run.module.backbone, device=torch.device("cpu"))
    assert int((final.labels < 0).sum()) == 20 and numbers["nmi_previous"] > 0


def test_new_images_have_no_place_in_clusters_of_other_rows(tmp_path: Path) -> None:
    run = built("first", tmp_path, max_epochs=1).fit()
    assert run.reassign.assignment is not None
    with pytest.raises(ValueError, match=r"of the other rows .* use the run's checkpoints/final.ckpt"):
        run.reassign.assignment.apply(torch.zeros(1, 84))


def test_matching_lets_a_kept_head_go_on(tmp_path: Path) -> None:
    run = built("matched", tmp_path).fit()
    first, second = run.reassign.assignments
    assert first is not None and second is not None and (first.k, second.k) == (6, 4)
    assert run.reassign.latest["cluster/moved_share"] < 0.5


def test_each_reassignment_is_numbered_as_the_last_one(tmp_path: Path) -> None:
    tiny.build(tmp_path, clustering=KMeans(k=tiny.K, n_iter=5, match=True)).fit()
    labels = torch.from_numpy(read_assignments(tmp_path).labels)
    for before, now in itertools.pairwise(labels):
        stay = [int((torch.tensor(new)[now] == before).sum()) for new in itertools.permutations(range(tiny.K))]
        assert int((now == before).sum()) == max(stay) < tiny.N_IMAGES
