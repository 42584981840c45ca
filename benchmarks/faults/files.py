"""A last.ckpt that is cut, changed or another's, and a resume from it: the part "files"."""

import itertools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.kills import SMALL
from benchmarks.faults.report import Tried
from benchmarks.faults.runs import Runs, differences


class Code:
    """What must not run when a file is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def run_files(folder: Path, seed: int, most: int | None, say: Callable[[str], None]) -> list[Tried]:
    """Damage last.ckpt of a run that stopped in its last epoch, resume, compare with a run that was not stopped."""
    runs, draw, done = Runs(folder), random.Random(seed), []
    runs.train(*SMALL, "output_dir=whole")
    runs.train(*SMALL, "output_dir=other", "seed=2")
    n_trainings = itertools.count(1)

    def in_the_third_training(_: float, phase: str) -> float | None:
        return 0.02 if phase == "training" and next(n_trainings) == 3 else None

    runs.train(*SMALL, "output_dir=cut_off", kill=in_the_third_training)
    last = Path("checkpoints") / "last.ckpt"
    size = (runs.folder / "cut_off" / last).stat().st_size
    faults: list[tuple[str, Callable[[Path], Any]]] = [("of zero length", lambda file: file.write_bytes(b""))]
    for _ in range(5):
        faults.append((f"cut at byte {(at := draw.randrange(size)):,} of {size:,}", _cut(at)))
    for _ in range(5):
        faults.append((f"one bit turned in byte {(at := draw.randrange(size)):,}", _turn(at, 1 << draw.randrange(8))))
    other = runs.folder / "other" / last
    faults.append(("replaced by that of another seed", lambda file: shutil.copy(other, file)))
    faults.append(("replaced by a pickle with code", lambda file: torch.save(Code(file.parent / "ran"), file)))
    faults.append(("gone", lambda file: file.unlink()))
    for fault, spoil in faults[:most]:
        run = runs.folder / "spoilt"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(runs.folder / "cut_off", run)
        spoil(run / last)
        ended = runs.train("resume=spoilt")
        said = [line for line in ended.out.splitlines() if line.startswith(("refused", "resuming"))]
        harmless = len(said) == 1 and "one bit" in fault  # in the padding between tensors
        wrong = differences(run, runs.folder / "whole") if ended.status == 0 else [ended.err[-1000:]]
        if not harmless and (not said or "previous.ckpt" not in said[-1]):
            wrong.append("it did not go on from the one before")
        if (run / "checkpoints" / "ran").exists():
            wrong.append("its code ran")
        done.append(Tried(fault=f"last.ckpt {fault}", said=" / ".join(said), wrong=wrong))
        say(f"{done[-1].fault}: {'; '.join(wrong) or 'as it should be'}{' (harmless)' if harmless else ''}")
        say(f"    {done[-1].said}")
    return done


def _cut(at: int) -> Callable[[Path], Any]:
    return lambda file: os.truncate(file, at)


def _turn(at: int, bit: int) -> Callable[[Path], Any]:
    def turn(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[at] ^= bit
        file.write_bytes(data)

    return turn
