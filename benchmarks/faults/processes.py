"""Processes that end or hang beside the run: the part "processes".

A data worker is killed, one of two ranks is killed, a file does not come from its disk; in extraction and in training.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults.kills import SMALL
from benchmarks.faults.report import Tried, error_line
from benchmarks.faults.runs import REPOSITORY, Ended, Runs, differences, seconds_until_gone, survivors

ENDS_WITHIN_S = 60.0  # the others of a run, when one of its processes was killed
HANGS_S = 5  # reading.timeout_s of the runs whose disk hangs


def run_processes(folder: Path, most: int | None, say: Callable[[str], None]) -> list[Tried]:
    """All faults of this file, or the first so many; each is one line."""
    runs, done = Runs(folder), []
    shutil.rmtree(runs.folder / "whole", ignore_errors=True)
    shutil.rmtree(runs.folder / "pictures_whole", ignore_errors=True)
    pictures = _pictures(runs.folder / "pictures")
    phases = ("extraction", "training")
    faults = [partial(fault, runs, pictures, phase) for phase in phases for fault in (_worker_killed, _hung_file)]
    faults += [partial(_rank_killed, runs, phase, rank) for phase in phases for rank in (0, 1)]
    for fault in faults[:most]:
        done.append(fault())
        _say(done[-1], say)
    return done


def _say(tried: Tried, say: Callable[[str], None]) -> None:
    say(f"{tried.fault}: {'; '.join(tried.wrong) or 'as it should be'}, ended after {tried.seconds:.1f} s")
    say(f"    {tried.said}")


def _pictures(folder: Path) -> Path:
    """300 grey PNGs that stay on the disk and are decoded by workers."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for i in range(300):
        if not (folder / f"{i:03}.png").is_file():
            Image.fromarray(draw.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{i:03}.png")
    return folder


def _on_files(pictures: Path) -> list[str]:
    return [
        *SMALL,
        "data=folder",
        f"data.root={pictures}",
        "reading.in_memory=never",
        "arch=lenet",
        "view.size=32",
        "reading.num_workers=2",
        "data.n_channels=1",
        f"reading.timeout_s={HANGS_S}",
    ]


def _while_in(
    runs: Runs, phase: str, number: int, command: list[str], do: Callable[[int], None]
) -> tuple[Ended, float]:
    """Run it; at the number-th entry of the phase call do(session). Also the seconds from then to its end."""
    at: list[float] = []
    n_met = 0

    def entered(_: float, name: str) -> None:
        nonlocal n_met
        n_met += name == phase
        if name == phase and n_met == number:
            at.append(time.monotonic())
            threading.Thread(target=do, args=(runs.pid,), daemon=True).start()

    ended = runs.train(*command, kill=entered)
    return ended, time.monotonic() - (at[0] if at else 0.0)


def _whole(runs: Runs, pictures: Path) -> Path:
    folder = runs.folder / "pictures_whole"
    if not folder.exists():
        runs.train(*_on_files(pictures), f"output_dir={folder}")
    return folder


def _worker_killed(runs: Runs, pictures: Path, phase: str) -> Tried:
    whole, folder = _whole(runs, pictures), runs.folder / "worker_killed"
    shutil.rmtree(folder, ignore_errors=True)

    def kill_a_worker(session: int) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if workers := [pid for pid in survivors(session) if pid != session]:
                os.kill(workers[0], signal.SIGKILL)
                return
            time.sleep(0.002)

    command = [*_on_files(pictures), f"output_dir={folder}"]
    ended, seconds = _while_in(runs, phase, 4 if phase == "extraction" else 2, command, kill_a_worker)
    return _judge(runs, f"data worker killed in {phase}", ended, seconds, folder, whole, "reads images ended")


def _hung_file(runs: Runs, pictures: Path, phase: str) -> Tried:
    """A file that becomes a link to a pipe that nobody writes to: opening it never returns."""
    whole, folder = _whole(runs, pictures), runs.folder / "hung"
    shutil.rmtree(folder, ignore_errors=True)
    file, pipe = pictures / "299.png", runs.folder / "pipe"
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    kept = file.read_bytes()

    def hang(session: int) -> None:
        file.unlink()
        file.symlink_to(pipe)

    try:
        command = [*_on_files(pictures), f"output_dir={folder}"]
        ended, seconds = _while_in(runs, phase, 4 if phase == "extraction" else 2, command, hang)
    finally:
        file.unlink()
        file.write_bytes(kept)
    return _judge(runs, f"file hangs in {phase}", ended, seconds, folder, whole, "299.png")


def _judge(runs: Runs, fault: str, ended: Ended, seconds: float, folder: Path, whole: Path, must_say: str) -> Tried:
    said, wrong = error_line(ended.err), []
    if ended.status != 1 or "Traceback" in ended.err.partition("Exception ignored in")[0] or must_say not in said:
        wrong.append(f"status {ended.status}: {ended.err[-1500:]}")
    if seconds > ENDS_WITHIN_S:
        wrong.append(f"it ended after {seconds:.0f} s only")
    if seconds_until_gone(ended.session, 15) is None:
        wrong.append("processes live on")
    again = runs.train(f"resume={folder}")
    wrong += (
        differences(folder, whole) if again.status == 0 else [f"resume: status {again.status}: {again.err[-1500:]}"]
    )
    return Tried(fault=fault, said=said, wrong=wrong, seconds=seconds)


def _rank_killed(runs: Runs, phase: str, rank: int) -> Tried:
    """Two gloo processes as trainer=ddp starts them; kill -9 of one, by what metrics.csv and assignments/ show."""
    two = [*SMALL, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    whole, folder = runs.folder / "two_whole", runs.folder / "rank_killed"
    shutil.rmtree(folder, ignore_errors=True)
    if not whole.exists():
        _two(runs, [*two, f"output_dir={whole}"]).wait()
    process = _two(runs, [*two, f"output_dir={folder}"])
    # epoch 1's training begins when its assignment is there; its extraction when epoch 0's checkpoint is
    awaited = folder / ("checkpoints/last.ckpt" if phase == "extraction" else "assignments/epoch_00001.npz")
    deadline = time.monotonic() + 300
    while not awaited.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    pids = {pid: "LOCAL_RANK=1" in (Path("/proc") / str(pid) / "environ").read_text() for pid in survivors(process.pid)}
    victim = next((pid for pid, is_one in pids.items() if is_one == (rank == 1)), None)
    started = time.monotonic()
    if victim is not None:
        os.kill(victim, signal.SIGKILL)
    wrong, said = [] if victim is not None else ["the process to kill was not found"], ""
    gone = seconds_until_gone(process.pid, ENDS_WITHIN_S)
    seconds = time.monotonic() - started
    if gone is None:
        wrong.append(f"processes live on after {ENDS_WITHIN_S:.0f} s: {survivors(process.pid)}")
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    err = (runs.folder / "two.err").read_text()
    said = error_line(err) or (err.strip().splitlines() or [""])[-1]
    if rank == 1 and not error_line(err):
        wrong.append("no sentence is said")
    again = _two(runs, [f"resume={folder}"])
    if again.wait() == 0:
        wrong += differences(folder, whole)
    else:
        wrong.append(f"resume: {(runs.folder / 'two.err').read_text()[-1500:]}")
    return Tried(fault=f"rank {rank} of 2 killed in {phase}", said=said, wrong=wrong, seconds=seconds)


def _two(runs: Runs, arguments: list[str]) -> "subprocess.Popen[bytes]":
    with (runs.folder / "two.out").open("wb") as out, (runs.folder / "two.err").open("wb") as err:
        command = [sys.executable, str(REPOSITORY / "train.py"), *arguments]
        return subprocess.Popen(command, cwd=runs.folder, stdout=out, stderr=err, start_new_session=True)
