"""The table of a sweep against figures worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import ablation
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import write_assignment, write_samples


def job(sweep: Path, number: int, overrides: list[str], knn: float | None, **summary: Any) -> Path:
    """A finished job: two assignments of four images, and what it measured."""
    folder = sweep / str(number)
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {override}\n" for override in overrides))
    seed = next(int(override.removeprefix("seed=")) for override in overrides if override.startswith("seed="))
    trained = {"knn_accuracy": knn, "clusters_used": 4.0, "nmi_previous": 0.9, "nmi_labels": 0.9}
    content = {"trained": trained, "untrained": {}, "drawn": {"perplexity": 3.0}, "seed": seed, **summary}
    (folder / "summary.json").write_text(json.dumps(content))
    write_samples(folder / "assignments", list("abcd"))
    for name, epoch, labels in (("epoch_00000", 0, [0, 0, 1, 1]), ("final", 1, [0, 1, 2, 3])):
        k = max(labels) + 1
        found = Assignment(labels=torch.tensor(labels), k=k, objective=0.0, centroids=torch.zeros(k, 1))
        write_assignment(folder / "assignments", name, epoch, found)
    (folder / "clusters.csv").write_text("sample,cluster,label\na,0,cat\nb,1,cat\nc,2,dog\nd,3,\n")
    return folder


def cells(text: str, title: str) -> list[str]:
    """A row's figures."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def whole_table(sweep: Path) -> str:
    return ablation.table(ablation.by_setting([ablation.read_run(folder) for folder in sorted(sweep.iterdir())]))


def test_figures_are_means_and_deviations_over_seeds_and_differences_seed_by_seed(tmp_path: Path) -> None:
    for number, (mode, seed, knn) in enumerate(
        [("correct", 1, 0.70), ("correct", 2, 0.80), ("official", 2, 0.77), ("official", 1, 0.65)]
    ):
        job(tmp_path, number, [f"mode={mode}", f"seed={seed}", "clustering.k=4"], knn)
    text = whole_table(tmp_path)
    assert cells(text, "") == ["mode=correct (2 seeds)", "mode=official (2 seeds)", "second - first"]
    # 70 and 80; 65 and 77; -5 and -3: deviations 10, 12 and 2 over the root of 2
    assert cells(text, "k-NN, test images (%)") == ["75.0 ± 7.1", "71.0 ± 8.5", "-4.0 ± 1.4"]
    assert cells(text, "clusters drawn, effective number")[0] == "3.0 ± 0.0"
    assert cells(text, "linear probe, test images (%)") == ["-", "-", "-"]


def test_nmi_is_arithmetic_whatever_the_run_logged(tmp_path: Path) -> None:
    folder = job(tmp_path, 0, ["mode=official", "seed=1"], 0.5, nmi_average="geometric")
    found = ablation.read_run(folder).numbers
    assert found["nmi_previous"] == pytest.approx(2 / 3)  # I = H = ln 2 of the one, ln 4 of the other
    # of the three labelled images: H = ln 3 of the clusters, I = H of the labels = ln 3 - 2/3 ln 2
    labels = torch.log(torch.tensor(3.0)) - 2 / 3 * torch.log(torch.tensor(2.0))
    assert found["nmi_labels"] == pytest.approx(float(2 * labels / (labels + torch.log(torch.tensor(3.0)))))


def test_settings_are_named_by_what_differs_and_not_compared_with_other_seeds(tmp_path: Path) -> None:
    job(tmp_path, 0, ["clustering.k=5", "+trainer.benchmark=true", "seed=1"], 0.5)
    job(tmp_path, 1, ["clustering.k=6", "seed=2"], None)
    text = whole_table(tmp_path)
    assert cells(text, "") == [
        "clustering.k=5 trainer.benchmark=true (1 seeds)",
        "clustering.k=6 trainer.benchmark=default (1 seeds)",
    ]
    assert cells(text, "k-NN, test images (%)") == ["50.0", "-"]


def test_a_folder_without_finished_runs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ablation", str(tmp_path)])
    with pytest.raises(SystemExit):
        ablation.main()
    assert "holds no finished run" in capsys.readouterr().err
    (job(tmp_path, 0, ["seed=1"], 0.5) / "summary.json").unlink()
    job(tmp_path, 1, ["seed=2"], 0.5)
    ablation.main()
    assert "not finished, and left out: 0" in capsys.readouterr().out
