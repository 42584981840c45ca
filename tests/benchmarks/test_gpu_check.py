"""The checks of benchmarks/gpu_check.py: on the CPU always, and on a GPU where there is one."""

from pathlib import Path

import pytest
import torch
from support.typed import Typist

from benchmarks import gpu_check
from benchmarks.gpu_check import CHECKS, Check, Skipped, main

QUICK = [pytest.param(check, id=check.name) for check in CHECKS if not check.whole_run]
RUNS = [pytest.param(check, id=check.name) for check in CHECKS if check.whole_run]
ALL = [pytest.param(check, id=check.name) for check in CHECKS]


def run(check: Check, device: str) -> None:
    try:
        check.run(torch.device(device))
    except Skipped as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("check", QUICK)
def test_on_the_cpu(check: Check) -> None:
    run(check, "cpu")


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize("check", RUNS)
def test_whole_runs_on_the_cpu(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """training_and_resume by the script's own command; the others without its imports."""
    typist = Typist(tmp_path)

    def typed(words: list[str]) -> None:
        done = typist.train(*words)
        assert done.status == 0, done.err

    if check.name != "training_and_resume":
        monkeypatch.setattr(gpu_check, "_train", typed)
    run(check, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("check", ALL)
def test_on_a_gpu(check: Check) -> None:
    run(check, "cuda:0")


def test_the_script_tells_each_outcome_and_ends_with_1_if_one_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(device: torch.device) -> str:
        raise AssertionError("relative error 0.5")

    def skip(device: torch.device) -> str:
        raise Skipped("needs 2 GPUs")

    good = Check("good", lambda device: f"ran on {device}")
    monkeypatch.setattr(gpu_check, "CHECKS", [good, Check("bad", fail), Check("later", skip)])
    assert main(["--cpu"]) == 1
    said = capsys.readouterr().out
    assert "versions   torch" in said and "ran on cpu" in said
    assert "FAIL  bad" in said and "relative error 0.5" in said and "skip  later" in said and "1 failed" in said
    assert main(["--cpu", "--only", "good"]) == 0


def test_without_a_gpu_the_script_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "--cpu rehearses" in said
