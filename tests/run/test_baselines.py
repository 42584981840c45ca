"""Pixels and patches in a run: measured once, kept, shared by a sweep's jobs, and of no effect on the training."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose

from deepcluster.evaluation.baselines import Baselines
from deepcluster.run.train import train
from deepcluster.settings.resume import resumed_config
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.weights import checkpoint

pytestmark = pytest.mark.usefixtures("composer")

SMALL = ["data.limit=120", "clustering.k=5", "reduction.dim=8", "evaluation.knn.k=5", "trainer.max_epochs=1"]
PROBE = ["evaluation.linear_probe.epochs=1", "evaluation.linear_probe.learning_rates=[0.1]"]


def settings(*overrides: str) -> TrainConfig:
    return train_config(compose("train", [*SMALL, *PROBE, *overrides]))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Baselines]:
    """Every measurement from here on."""
    done: list[Baselines] = []
    measure = Baselines.measure
    monkeypatch.setattr(Baselines, "measure", lambda self: done.append(self) or measure(self))
    return done


def test_baselines_have_columns_and_change_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measured: list[Baselines]
) -> None:
    summary = train(settings(), tmp_path / "with")
    printed = capsys.readouterr().out
    plain = train(settings("evaluation.baselines=false"), tmp_path / "without")
    assert len(measured) == 1 and "pixels" not in plain
    for who in ("pixels", "patches"):
        assert summary[who].keys() == summary["trained"].keys()
        figures = ("knn_accuracy", "linear_probe_accuracy", "nmi_labels", "nmi_classes", "nmi_previous")
        assert all(0 < summary[who][name] <= 1 for name in figures)
    assert (summary["trained"], summary["untrained"]) == (plain["trained"], plain["untrained"])
    one, two = (checkpoint.load_checkpoint(tmp_path / name).backbone for name in ("with", "without"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    (heading,) = [line for line in printed.splitlines() if "untrained ┃" in line]
    assert [cell.strip() for cell in heading.strip("┃").split("┃")[1:]] == ["pixels", "patches", "untrained", "trained"]
    assert sum(line.startswith("learned    training ") for line in printed.splitlines()) == 1


def test_a_run_that_goes_on_keeps_its_baselines(tmp_path: Path, measured: list[Baselines]) -> None:
    first = train(settings(), tmp_path)
    words = [f"resume={tmp_path}", "trainer.max_epochs=2"]
    second = train(train_config(resumed_config(compose("train", words), words)), tmp_path)
    assert len(measured) == 1 and second["patches"] == first["patches"] and second["epochs"] == 2
    (tmp_path / "baselines.json").write_text("{")
    third = train(train_config(resumed_config(compose("train", words), words)), tmp_path)
    assert len(measured) == 2 and third["patches"] == first["patches"]  # damaged: measured again
    assert json.loads((tmp_path / "baselines.json").read_text())["patches"]["knn_accuracy"] > 0


def test_jobs_of_a_sweep_share_them_whatever_their_network_and_k(tmp_path: Path, measured: list[Baselines]) -> None:
    jobs = [
        train(settings(*words), tmp_path / str(number), shared=tmp_path / "shared")
        for number, words in enumerate([(), ("clustering.k=4", "arch.batch_norm=false"), ("seed=2",)])
    ]
    assert len(measured) == 2  # another seed is measured anew
    one, two, _ = (job["patches"] for job in jobs)
    assert one["knn_accuracy"] == two["knn_accuracy"] and one["nmi_classes"] == two["nmi_classes"]
    assert (one["clusters_used"], two["clusters_used"]) == (5, 4)  # the run's own clusters are each job's


def test_a_named_start_is_called_pretrained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(settings("evaluation.enabled=false"), tmp_path / "first")
    capsys.readouterr()
    named = ["init=checkpoint", f"init.path={tmp_path / 'first'}", "evaluation.baselines=false"]
    summary = train(settings(*named), tmp_path / "second")
    assert summary["pretrained"] == summary["untrained"]
    printed = capsys.readouterr().out
    assert "┃ pretrained ┃ trained ┃" in printed and "untrained ┃" not in printed
    assert "the pretrained network" in printed
