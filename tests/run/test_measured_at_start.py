"""trainer.max_epochs=0 measures a network as it starts: how Coates and Ng's, which nothing trains, is used."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose

from deepcluster.evaluation.probe.recipes import Knn
from deepcluster.evaluation.probe.representation import Representation
from deepcluster.run.evaluate import evaluate
from deepcluster.run.train import train
from deepcluster.settings.eval import EvalConfig
from deepcluster.settings.resume import resumed_config
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.weights import checkpoint

pytestmark = pytest.mark.usefixtures("composer")

SMALL = ["data.limit=120", "view.size=28", "clustering.k=5", "reduction.dim=8", "evaluation.knn.k=5"]
COATES = ["arch=coates", "arch.n_filters=6", "init=kmeans_patches", "init.n_patches=1000"]


def settings(*overrides: str) -> TrainConfig:
    return train_config(compose("train", [*SMALL, *overrides]))


def test_coates_is_measured_and_its_checkpoint_measures_the_same(tmp_path: Path) -> None:
    summary = train(settings(*COATES, "trainer.max_epochs=0"), tmp_path / "run")
    measured, before = summary["trained"], summary["untrained"]
    assert summary["epochs"] == 0 and measured["knn_accuracy"] > 0.3 and before == measured
    assert summary["table"][0][-1] == "untrained" and summary["learned"].startswith("the untrained network reaches ")
    stored = checkpoint.load_checkpoint(tmp_path / "run")
    assert stored.epoch == 0 and stored.assignment is not None and stored.assignment.k == 5
    (tmp_path / "eval").mkdir()
    again = evaluate(EvalConfig(ckpt=str(tmp_path / "run"), evaluation=Representation(knn=Knn(k=5))), tmp_path / "eval")
    assert again["knn_accuracy"] == measured["knn_accuracy"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["k"] == 5


def test_a_network_without_weights_is_not_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trainer.max_epochs=2, but .* set trainer.max_epochs=0"):
        train(settings(*COATES, "trainer.max_epochs=2"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_network_with_weights_can_be_trained_on_from_its_start(tmp_path: Path) -> None:
    lenet = ["arch=lenet5", "view.size=32", "init=kmeans_patches", "init.n_patches=1000"]
    first = train(settings(*lenet, "trainer.max_epochs=0"), tmp_path)
    start = checkpoint.load_checkpoint(tmp_path).backbone
    cfg = compose("train", [f"resume={tmp_path}", "trainer.max_epochs=1"])
    longer = train_config(resumed_config(cfg, [f"resume={tmp_path}", "trainer.max_epochs=1"]))
    second = train(longer, tmp_path)
    assert (first["epochs"], second["epochs"]) == (0, 1)
    assert second["untrained"]["knn_accuracy"] == first["trained"]["knn_accuracy"]
    moved = checkpoint.load_checkpoint(tmp_path / "checkpoints" / "last.ckpt").backbone["features.conv1.0.weight"]
    assert not torch.equal(moved, start["features.conv1.0.weight"])
