"""Where images are clustered several times, evaluation.head chooses the labeling."""

import csv
from pathlib import Path

import pytest
import torch
from support import tiny
from support.evaluated import context

from deepcluster.clustering.history import read_assignments
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.metrics import nmi
from deepcluster.evaluation.clusters.assign import Assign
from deepcluster.evaluation.clusters.cluster_quality import ClusterQuality
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.run.train import save_final
from deepcluster.weights.recognise import read_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tiny.Run:
    """A finished run of two labelings, of 6 and of 4 clusters."""
    run = tiny.build(tmp_path_factory.mktemp("run"), max_epochs=1, clustering=KMeans(k=[6, 4], n_iter=5)).fit()
    run.reassign.final(run.module.backbone, device=torch.device("cpu"))
    file = run.folder / "checkpoints" / "final.ckpt"
    save_final(file, run.module.backbone, tiny.CARD, run.reassign.assignments, epochs=1)
    return run


def evaluated(run: tiny.Run, folder: Path) -> EvaluationContext:
    found = context(folder, tiny.images(), backbone=run.module.backbone.eval())
    found.stored, found.run_data = read_weights(run.folder), found.data
    return found


def test_assign_writes_the_clusters_of_the_chosen_labeling(run: tiny.Run, tmp_path: Path) -> None:
    for head, k in enumerate([6, 4]):
        assert Assign(head=head).run(evaluated(run, tmp_path))["clusters_used"] == k
        with (tmp_path / "clusters.csv").open() as file:
            written = [int(row["cluster"]) for row in csv.DictReader(file)]
        assert written == read_assignments(run.folder, "final", labeling=head).labels[0].tolist()


def test_cluster_quality_measures_the_chosen_labeling(run: tiny.Run, tmp_path: Path) -> None:
    found = ClusterQuality(head=1, n_seeds=0).run(evaluated(run, tmp_path))
    labels, second = tiny.images().labels, run.reassign.assignments[1]
    assert labels is not None and second is not None and found["own_train_clusters_used"] == 4
    assert found["own_train_nmi"] == pytest.approx(nmi(second.labels, labels))


def test_a_labeling_that_the_checkpoint_lacks_is_named_with_the_limit(run: tiny.Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.head=2 must be at most 1: .*final\.ckpt .* 2 labelings"):
        Assign(head=2).run(evaluated(run, tmp_path))


def test_a_checkpoint_of_training_holds_the_head_of_each_labeling(run: tiny.Run) -> None:
    last = read_weights(run.folder / "checkpoints" / "last.ckpt")
    second = last.of_labeling(1)
    assert last.head is not None and second.head is not None and second.assignment is not None
    assert (len(last.head[0]), len(second.head[0]), second.assignment.k) == (6, 4, 4)
    assert torch.equal(second.head[0], run.module.head.others[0].linear.weight)  # type: ignore[index, union-attr]
