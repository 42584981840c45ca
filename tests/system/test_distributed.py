"""Two or four processes act as one: same assignment, same order, and no rank waits for one that failed."""

import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose
from support import tiny
from support.configs import REPOSITORY
from support.one_of_several import FILTERS
from support.swapped import two_swapped_losses
from support.tiny_methods import V2
from support.typed import Finished, Typist

from deepcluster.clustering.kmeans import KMeans
from deepcluster.models.lenet import LeNet5
from deepcluster.run.parts import build_parts
from deepcluster.settings.train import train_config
from deepcluster.system import collectives, distributed

pytestmark = pytest.mark.ddp
SCRIPT = REPOSITORY / "tests" / "support" / "one_of_several.py"


def start(case: str, folder: Path, size: int = 2) -> list[Finished]:
    """Run one_of_several.py on `size` ranks; a rank that waits for ever fails the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    typist = Typist(Path(tempfile.mkdtemp(prefix=f"{case}_", dir=folder)))
    ranks = []
    for rank in range(size):
        environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks.append(typist.command(SCRIPT, case, str(folder), environment=environment, timeout_s=400))
    return typist.type(*ranks)


def test_one_process_needs_no_process_group() -> None:
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.on_rank_zero("work", lambda: 5) == 5
    rows = torch.arange(6).view(3, 2)
    assert collectives.gather_interleaved(rows, 3) is rows
    with pytest.raises(KeyError), distributed.shared_failure("work"):
        raise KeyError("own error")


def results(finished: list[Finished], folder: Path) -> list[dict[str, Any]]:
    """What each rank has written; all must have ended well."""
    assert not any(p.status for p in finished), "".join(p.err for p in finished)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(len(finished))]


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_cluster_like_one(size: int, tmp_path: Path) -> None:
    found = results(start("assign", tmp_path, size), tmp_path)
    for parallel in ("gather", "shares"):
        assert all(torch.equal(rank[parallel], found[0][parallel]) for rank in found)
    torch.manual_seed(0)
    backbone = LeNet5(1, 16, batch_norm=True)
    clusterer = tiny.build(tmp_path / "alone").reassign.clusterer
    alone, _ = clusterer.assign(backbone, device=torch.device("cpu"), moment="epoch 0")
    for labels in found[0].values():
        assert (labels == alone.labels).float().mean() > 0.98  # up to the order in which floats are added


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def shares(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Features (N, P), and what each process has made of its share of them."""
    folder = tmp_path_factory.mktemp("shares")
    features = torch.randn(1001, 16, generator=torch.Generator().manual_seed(3))  # neither 2 nor 4 divides 1001
    torch.save(features, folder / "features.pt")
    return features, results(start("shares", folder, request.param), folder)


def test_kmeans_on_shares_equals_kmeans_in_one_process(shares: tuple[torch.Tensor, list[dict[str, Any]]]) -> None:
    features, ranks = shares
    for backend in ("faiss", "torch"):
        alone = KMeans(k=30, n_iter=8, backend=backend).fit(features, seed=5)
        for rank in ranks:
            assert torch.equal(rank[backend]["labels"].long(), alone.labels)
            torch.testing.assert_close(rank[backend]["centroids"], alone.centroids, atol=1e-5, rtol=0)


def test_swav_balances_batch_and_queue_over_all_processes(shares: tuple[torch.Tensor, list[dict[str, Any]]]) -> None:
    features, ranks = shares
    losses, queue = two_swapped_losses(features[:1000])
    torch.testing.assert_close(torch.stack([rank["swav"][0] for rank in ranks]).mean(dim=0), losses)
    assert all(torch.equal(rank["swav"][1], queue) for rank in ranks)  # each checkpoint holds the images of all


def test_a_failing_rank_is_named_on_the_other(tmp_path: Path) -> None:
    finished = start("fail", tmp_path)
    for name in ("train/3", "train/5"):  # of a clustering, and of the first fill of a memory bank
        assert f"ValueError {name} is broken" in finished[1].out
        assert f"{name} is broken" in finished[0].out and "rank 1" in finished[0].out


def test_a_full_disk_on_rank_0_ends_both(tmp_path: Path) -> None:
    finished = start("full_disk", tmp_path)
    assert "OSError" in finished[0].out and "No space left on device" in finished[0].out
    assert "rank 0" in finished[1].out and "No space left on device" in finished[1].out


@pytest.mark.parametrize(
    ("case", "size"), [("fit", 2), ("fit_pic", 2), pytest.param("fit_odd", 4, marks=pytest.mark.slow)]
)
def test_several_processes_train_on_parts_of_the_same_epoch(case: str, size: int, tmp_path: Path) -> None:
    seen = results(start(case, tmp_path, size), tmp_path)
    in_use, k = seen[0]["k"]
    for rank, mine in enumerate(seen):
        for epoch in (0, 1):
            expected = seen[0]["expected"][epoch]
            assert torch.equal(mine["indices"][epoch], expected[rank::size][: len(expected) // size])
        assert torch.equal(mine["weight"], seen[0]["weight"])
        assert torch.equal(mine["head"], seen[0]["head"])
        assert in_use == k[-1] and mine["k"] == (in_use, k)
    n_rows = len(seen[0]["head"])
    assert in_use < n_rows if case == "fit_pic" else in_use == n_rows


def test_two_processes_resume_exactly(tmp_path: Path) -> None:
    start("fit", tmp_path / "whole")
    killed = start("fit_killed", tmp_path / "halves")
    assert all("Killed" in p.err for p in killed)
    resumed = start("fit_resumed", tmp_path / "halves")
    assert [p.status for p in resumed] == [0, 0], resumed[0].err + resumed[1].err
    whole, halves = (torch.load(tmp_path / run / "rank0.pt", weights_only=True) for run in ("whole", "halves"))
    assert torch.equal(whole["weight"], halves["weight"])


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 4)])
def test_another_number_of_processes_goes_on_within_the_epoch(before: int, after: int, tmp_path: Path) -> None:
    killed = start("fit_killed", tmp_path, before)  # in the second step of epoch 1, before its checkpoint
    assert all("Killed" in p.err for p in killed)
    resumed = start("fit_resumed", tmp_path, after)
    seen = results(resumed, tmp_path)
    n_shown = tiny.BATCH * before
    rest = seen[0]["expected"][1][n_shown:]
    for rank, mine in enumerate(seen):
        assert list(mine["indices"]) == [1] and mine["epochs"] == 2
        assert torch.equal(mine["indices"][1], rest[rank::after])
        assert torch.equal(mine["weight"], seen[0]["weight"])
    assert f"within epoch 2 after {n_shown} of {tiny.N_IMAGES} images" in resumed[0].out


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_goes_on_after_an_epoch(before: int, after: int, tmp_path: Path) -> None:
    start("fit_one", tmp_path, before)
    seen = results(start("fit_resumed", tmp_path, after), tmp_path)
    for rank, mine in enumerate(seen):
        assert list(mine["indices"]) == [1] and mine["epochs"] == 2
        assert torch.equal(mine["indices"][1], seen[0]["expected"][1][rank::after])


def same_on_all(seen: list[dict[str, Any]]) -> None:
    """All processes end with the same weights and labels, after two epochs of each image once."""
    for mine in seen:
        assert mine["epochs"] == 2
        assert all(torch.equal(v, seen[0]["weights"][name]) for name, v in mine["weights"].items())
        assert all(bool(v.isfinite().all()) for v in mine["weights"].values())
        assert all(torch.equal(a, b) for a, b in zip(mine["labels"], seen[0]["labels"], strict=True))


def has_what_the_steps_wrote(seen: list[dict[str, Any]], rows: torch.Tensor, written: torch.Tensor) -> None:
    """Each process's bank is the one before, with what the steps of all processes wrote in their order."""
    for step, indices, embeddings in sorted((w for mine in seen for w in mine["writes"]), key=lambda w: w[0]):
        rows[:, indices], written[indices] = embeddings, step
    for mine in seen:
        assert torch.equal(mine["bank"]["rows"], rows) and torch.equal(mine["bank"]["written"], written)


@pytest.mark.usefixtures("composer")
def test_filters_are_learned_by_one_process_and_reach_the_other(tmp_path: Path) -> None:
    first, second = results(start("filters", tmp_path), tmp_path)
    assert (first["n_learned"], second["n_learned"]) == (2, 0)  # two networks, see targets.co_teaching
    alone = build_parts(train_config(compose("train", FILTERS)))
    learned = [alone.backbone, alone.module.keywords["second"]]
    for number, network in enumerate(learned):
        weight = network.features[0][0].weight.detach()
        assert torch.equal(first["weights"][number], weight) and torch.equal(second["weights"][number], weight)
    assert not torch.equal(*first["weights"])


def test_two_processes_of_v2_share_the_bank_that_the_steps_of_both_wrote(tmp_path: Path) -> None:
    seen = results(start("deepcluster_v2", tmp_path), tmp_path)
    same_on_all(seen)
    shown = torch.cat([mine["last_indices"] for mine in seen])
    assert len(seen[0]["labels"]) == 3 and torch.equal(shown.sort().values, torch.arange(tiny.N_IMAGES))
    bank = seen[0]["bank"]
    has_what_the_steps_wrote(seen, torch.zeros_like(bank["rows"]), torch.full_like(bank["written"], -1))
    assert bank["written"].min() > 3  # three steps in each epoch: all rows are the second's


def test_two_processes_of_sela_end_with_the_same_state(tmp_path: Path) -> None:
    seen = results(start("sela", tmp_path), tmp_path)
    same_on_all(seen)
    assert len(seen[0]["labels"]) == 2 and not torch.equal(*seen[0]["labels"])


def test_two_processes_of_co_teaching_with_soft_targets_end_with_the_same_state(tmp_path: Path) -> None:
    seen = results(start("co_teaching", tmp_path), tmp_path)
    same_on_all(seen)
    assert "peer.backbone.features.conv1.0.weight" in seen[0]["weights"]


def test_two_processes_go_on_with_v2_where_one_was_killed(tmp_path: Path) -> None:
    with pytest.raises(tiny.Killed):  # in the second step of epoch 1, before its checkpoint: 16 images were shown
        tiny.build(tmp_path, max_epochs=2, every_n_steps=1, kill_after=(1, 1), **V2).fit()
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["method"]["bank"]
    seen = results(start("deepcluster_v2_resumed", tmp_path), tmp_path)
    same_on_all(seen)
    assert len(torch.cat([mine["last_indices"] for mine in seen]).unique()) == tiny.N_IMAGES - tiny.BATCH
    assert (seen[0]["bank"]["written"] > int(stored["written"].max())).sum() == tiny.N_IMAGES - tiny.BATCH
    has_what_the_steps_wrote(seen, stored["rows"].clone(), stored["written"].clone())
