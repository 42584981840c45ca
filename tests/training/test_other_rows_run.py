"""A run whose first clusters, and a head beside, come from k-means features of patches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import tiny
from support.tiny import Method

from deepcluster.clustering.history import read_assignments
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.reduction import Reduction
from deepcluster.clustering.sinkhorn_clustering import Sinkhorn
from deepcluster.clustering.spectral import Spectral
from deepcluster.data.images import MemoryImages
from deepcluster.features.other_rows import OtherSource
from deepcluster.features.other_rows_coates import CoatesRows
from deepcluster.system.seeding import mix

COATES = CoatesRows(
    n_filters=8, patch_size=4, n_patches=800, reassignments=1, n_beside=1, reduction=Reduction(dim=None, whiten=False)
)


CPU = torch.device("cpu")


def rows_of_patches() -> torch.Tensor:
    made = COATES.build(tiny.images(), seed=1, batch_size=32, num_workers=0, device=CPU)
    return torch.cat([rows for _, rows in made.source.stream(torch.arange(tiny.N_IMAGES))])


def built(folder: Path, kill_after: tuple[int, int] | None = None) -> tuple[tiny.Run, list[str]]:
    """A run, and the reports of what was learned for it."""
    reports: list[str] = []

    def other(images: MemoryImages) -> OtherSource:
        made = COATES.build(images, seed=1, batch_size=32, num_workers=0, device=CPU)
        reports.append(made.report)
        return made

    method = Method(other_rows=COATES, other=other)
    return tiny.build(
        folder,
        method=method,
        clustering=KMeans(k=tiny.K, n_iter=5),
        max_epochs=2,
        every_n_steps=1,
        kill_after=kill_after,
    ), reports


def test_patches_serve_the_first_clusters_and_a_head_beside_and_a_resumed_run_learns_none_anew(tmp_path: Path) -> None:
    whole, reports = built(tmp_path / "whole")
    whole.fit()
    assert reports and whole.module.beside is not None and whole.module.beside.labels is not None
    seed = mix(whole.reassign.clusterer.seed, "epoch 0", "k-means")
    expected = KMeans(k=tiny.K, n_iter=5).fit(rows_of_patches(), seed=seed, device=CPU)
    assert read_assignments(tmp_path / "whole").labels[0].tolist() == expected.labels.tolist()
    assert whole.reassign.assignment is not None and whole.reassign.assignment.space == "features"
    killed, _ = built(tmp_path / "killed", kill_after=(1, 2))
    with pytest.raises(tiny.Killed):
        killed.fit()
    resumed, learned_again = built(tmp_path / "killed")
    resumed.fit(resume=True)
    mine, theirs = resumed.weights(), whole.weights()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs) and not learned_again


def test_other_rows_that_were_read_before_count_their_seconds_once(tmp_path: Path) -> None:
    run, _ = built(tmp_path)
    made = COATES.build(tiny.images(), seed=1, batch_size=32, num_workers=0, device=CPU)
    made.source.seconds["features_s"] = 1000.0
    clusterer = replace(run.reassign.clusterer, other=lambda device: made)
    _, seconds = clusterer.assign_other(1, device=CPU, moment="epoch 0")
    assert 0 < seconds["features_s"] < 1000 and made.source.seconds["features_s"] > 1000


def test_other_rows_are_clustered_by_their_graph_where_its_neighbours_are_set(tmp_path: Path) -> None:
    run, _ = built(tmp_path)
    clusterer = replace(run.reassign.clusterer, other_neighbours=3)
    (found,), _ = clusterer.assign_other(1, device=CPU, moment="epoch 0")
    rows, seed = rows_of_patches(), mix(clusterer.seed, "epoch 0", "k-means")
    expected = Spectral(k=tiny.K, n_iter=5, n_neighbours=3).fit(rows, seed=seed, device=CPU)
    assert found.labels.tolist() == expected.labels.tolist()
    sela = replace(clusterer, clustering=Sinkhorn(k=tiny.K))  # scores are of the network alone
    (of_sela,), _ = sela.assign_other(1, device=CPU, moment="epoch 0")
    expected = Spectral(k=tiny.K, n_neighbours=3).fit(rows, seed=seed, device=CPU)
    assert of_sela.labels.tolist() == expected.labels.tolist()
    assert found.labels.tolist() != KMeans(k=tiny.K, n_iter=5).fit(rows, seed=seed, device=CPU).labels.tolist()
