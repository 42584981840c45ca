"""keep=better: where training made the network worse, the run ends as one that trained nothing does."""

from pathlib import Path

import pytest
import torch
from hydra import compose

from deepcluster.run import better
from deepcluster.run.gain import Figures, start_is_better
from deepcluster.run.train import train
from deepcluster.settings.resume import resumed_config
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("composer")

SMALL = ["data.limit=120", "view.size=28", "arch=lenet5", "clustering.k=5", "reduction.dim=8", "evaluation.knn.k=5"]


def settings(*overrides: str) -> TrainConfig:
    return train_config(compose("train", [*SMALL, "evaluation.baselines=false", *overrides]))


@pytest.mark.parametrize(
    ("start", "trained", "is_better"),
    [
        ({"knn_accuracy": 0.55, "knn_whitened_accuracy": 0.5}, {"knn_accuracy": 0.495}, True),
        (  # the better of both
            {"knn_accuracy": 0.55, "knn_whitened_accuracy": 0.4},
            {"knn_accuracy": 0.5, "knn_whitened_accuracy": 0.56},
            False,
        ),
        # measured before crops were compared by whitened rows too
        ({"crops_nearest": 0.15}, {"crops_nearest": 0.1, "crops_nearest_whitened": 0.2}, True),
        ({"crops_nearest": 0.15}, {"crops_nearest": 0.2, "crops_nearest_whitened": 0.1}, False),
        ({"knn_accuracy": 0.5}, {"knn_accuracy": 0.5}, False),
        (
            {"knn_accuracy": 0.6, "knn_whitened_accuracy": 0.5},
            {"knn_accuracy": 0.6, "knn_whitened_accuracy": 0.4},
            True,
        ),
        ({"crops_nearest": 0.5}, {"crops_nearest": 0.4}, True),
        (
            {"crops_nearest": 0.146, "crops_nearest_whitened": 0.141},
            {"crops_nearest": 0.143, "crops_nearest_whitened": 0.184},
            False,
        ),
        ({"knn_accuracy": 0.4, "crops_nearest": 0.5}, {"knn_accuracy": 0.5, "crops_nearest": 0.4}, False),
        (  # stamps: 159 test images, two of which are that point of k-NN
            {"knn_whitened_accuracy": 0.679, "linear_probe_accuracy": 0.579, "nmi_classes": 0.213},
            {"knn_whitened_accuracy": 0.667, "linear_probe_accuracy": 0.642, "nmi_classes": 0.292},
            False,
        ),
        (
            {"knn_accuracy": 0.5, "linear_probe_accuracy": 0.6, "nmi_classes": 0.3},
            {"knn_accuracy": 0.6, "linear_probe_accuracy": 0.5, "nmi_classes": 0.2},
            True,
        ),
        (
            {"knn_accuracy": 0.6, "linear_probe_accuracy": 0.5},
            {"knn_accuracy": 0.5, "linear_probe_accuracy": 0.6},
            False,
        ),
        ({}, {"knn_accuracy": 0.5}, False),
        ({"knn_accuracy": 0.5}, {}, False),
    ],
)
def test_most_figures_decide_without_labels_that_of_crops(start: Figures, trained: Figures, is_better: bool) -> None:
    assert start_is_better(start, trained) is is_better


def test_a_run_that_got_worse_ends_like_one_that_trained_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Figures, Figures]] = []
    monkeypatch.setattr(better, "start_is_better", lambda *figures: not seen.append(figures))  # type: ignore[func-returns-value]
    nothing = train(settings("trainer.max_epochs=0"), tmp_path / "nothing")
    run = tmp_path / "run"
    summary = train(settings("trainer.max_epochs=1", "keep=better"), run)
    assert summary["kept"] == "start" and nothing["kept"] == "trained"
    assert summary["learned"].endswith(", so the run ends with the untrained network: clusters and files are its")
    assert [figures["knn_accuracy"] for figures in seen[-1]] == [
        summary[who]["knn_accuracy"] for who in ("untrained", "trained")
    ]
    assert summary["untrained"]["knn_accuracy"] == nothing["trained"]["knn_accuracy"]
    assert (run / "clusters.csv").read_text() == (tmp_path / "nothing" / "clusters.csv").read_text()
    final, start = load_checkpoint(run), load_checkpoint(tmp_path / "nothing")
    assert final.epoch == start.epoch == 0
    assert all(torch.equal(value, start.backbone[name]) for name, value in final.backbone.items())
    last = load_checkpoint(run / "checkpoints" / "last.ckpt").backbone  # the trained one, to go on with
    assert not torch.equal(last["features.conv1.0.weight"], start.backbone["features.conv1.0.weight"])

    # Trained on, it becomes better than its start: then it ends with what it learned.
    monkeypatch.setattr(better, "start_is_better", lambda *figures: False)
    words = [f"resume={run}", "trainer.max_epochs=2"]
    longer = train(train_config(resumed_config(compose("train", words), words)), run)
    assert longer["kept"] == "trained" and load_checkpoint(run).epoch == 2
    assert longer["untrained"] == summary["untrained"]


def test_keep_trained_stores_no_start_and_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(better, "start_is_better", None)
    assert train(settings("trainer.max_epochs=1"), tmp_path)["kept"] == "trained"
    assert not (tmp_path / better.START).exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("keep=better evaluation.untrained=false", "evaluation.untrained=false leaves keep=better no start"),
        ("keep=better evaluation.enabled=false", "evaluation.enabled=false leaves keep=better no start"),
        ("keep=better", None),
        ("keep=better evaluation.untrained=false trainer.max_epochs=0", None),
        ("evaluation.untrained=false", None),
    ],
)
def test_where_the_start_is_not_measured_keep_better_says_so(typed: str, said: str | None) -> None:
    line = better.tell_uncompared(settings(*typed.split()))
    assert line is None if said is None else line is not None and said in line


def test_the_experiment_for_photographs_keeps_the_better_network() -> None:
    assert train_config(compose("train", ["experiment=photographs", "data.root=DIR"])).keep == "better"
    assert train_config(compose("train")).keep == "trained"
