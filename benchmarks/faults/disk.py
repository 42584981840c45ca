"""The disk becomes full while a file is written, for each file of a run: the part "disk".

A small disk in memory (tmpfs, which only root can mount) is filled at the moment at which the run opens the file.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.kills import SMALL
from benchmarks.faults.report import Tried, error_line
from benchmarks.faults.runs import Runs, differences

# A file, and at which of its writings the disk is filled.
MOMENTS = [
    (".hydra/config.yaml", 1),
    ("samples.jsonl.gz", 1),
    ("run/config.yaml", 1),
    ("untrained.json", 1),
    ("metrics.csv", 2),
    ("epoch_00001.npz", 1),
    ("last.ckpt", 1),
    ("last.ckpt", 2),
    ("final.npz", 1),
    ("final.ckpt", 1),
    ("summary.json", 1),
    ("clusters.csv", 1),
]


def run_disk(folder: Path, most: int | None, say: Callable[[str], None]) -> list[Tried]:
    """Fill the disk at each of `MOMENTS`, make room, go on as the run said, compare with a run that had room.

    Args:
        most: only the first so many moments.

    Raises:
        PermissionError: if no disk can be mounted here.
    """
    runs, done = Runs(folder), []
    runs.train(*SMALL, "output_dir=whole")
    for name, time in MOMENTS[:most]:
        with _small_disk(runs.folder / "disk") as disk:
            done.append(_fill_at(runs, disk, name, time))
        say(f"{done[-1].fault}: {'; '.join(done[-1].wrong) or 'as it should be'}\n    {done[-1].said}")
    return done


def _fill_at(runs: Runs, disk: Path, name: str, time: int) -> Tried:
    run, filler = disk / "run", disk / "filler"
    ended = runs.train(*SMALL, f"output_dir={run}", prepare=lambda: _fill_when_written(name, time, filler))
    said, wrong = error_line(ended.err), []
    if not filler.exists():
        wrong.append("the file was never written")
    if ended.status != 1 or "Traceback" in ended.err or "No space left on device" not in said:
        wrong.append(f"status {ended.status}: {ended.err[-1000:]}")
    if name.removeprefix("run/").partition("/")[0] not in said:
        wrong.append("the file is not named")
    if list(run.rglob("*.part")):
        wrong.append("parts are left over")
    filler.unlink(missing_ok=True)
    begun = (run / "config.yaml").is_file()
    if begun and f"resume={run}" not in ended.err:
        wrong.append("how to go on is not said")
    again = runs.train(f"resume={run}") if begun else runs.train(*SMALL, f"output_dir={run}")
    if again.status == 0:
        wrong += differences(run, runs.folder / "whole")
    else:
        wrong.append(f"it does not go on: {again.err[-1000:]}")
    return Tried(fault=f"disk full in {name}, time {time}", said=said, wrong=wrong)


def _fill_when_written(name: str, time: int, filler: Path) -> None:
    """In the run's process: leave no room on the disk once a file of this name is opened for the time-th time."""
    n_opened = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n_opened
        if event != "open" or filler.exists() or not isinstance(arguments[0], str):
            return
        path, mode, _ = arguments
        opened = path.removesuffix(".part").replace("/.", "/") if path.endswith(".part") else path
        if opened.endswith(f"/{name}") and "w" in str(mode):
            n_opened += 1
            if n_opened == time:
                _fill(filler)

    sys.addaudithook(watch)


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue


@contextmanager
def _small_disk(disk: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise PermissionError("a small disk can only be mounted by root")
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
