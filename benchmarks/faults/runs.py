"""Real runs of train.py, each in a process of its own that can be killed, and how two of them are compared.

`Runs` imports everything once and forks: the child becomes `python train.py ...`. It tells by a pipe which phase it
enters, and writes its phase into shared memory, where it can be read after a kill.
"""

import atexit
import csv
import json
import mmap
import os
import runpy
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepcluster.clustering.history import read_assignments

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 600
# What a phase is: where it is entered, as "module:function" or "module:Class.method".
PHASES = {
    "extraction": ["deepcluster.training.clusterer:reduced_features"],
    "clustering": ["deepcluster.clustering.kmeans:KMeans.fit"],
    "writing the assignment": ["deepcluster.training.reassign:write_assignment"],
    "training": ["deepcluster.training.module:DeepClusterModule.training_step"],
    "metrics.csv": ["deepcluster.training.record:MetricsCSV.save"],
    "checkpointing": ["deepcluster.training.checkpointing:AtomicCheckpointIO.save_checkpoint"],
    "measuring": ["deepcluster.run.untrained:measure_features"],
    "final files": [f"deepcluster.run.train:{name}" for name in ("save_final", "write_clusters", "write_atomically")],
}
UNTIL_THE_NEXT = ("training",)  # a step's backward pass and the optimizer come after training_step has returned
MARK = 64  # bytes of the name of the phase


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit status (negative: the signal), the phase it was in, seconds, and what it printed."""

    status: int
    phase: str
    seconds: float
    out: str
    err: str
    entered: list[tuple[float, str]] = field(default_factory=list)  # seconds after the start, phase
    session: int = 0  # of its process and of all that it started


class Runs:
    """Starts runs, one at a time.

    Args:
        folder: where they run, print and keep their cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        self._mark = mmap.mmap(-1, MARK)
        self.pid = -1  # of the run, while there is one
        for name in ("pytorch_lightning.loggers", "deepcluster.app.train_command", *_modules_of_phases()):
            import_module(name)  # here, so that no run pays for it

    def train(
        self,
        *arguments: str,
        kill: Callable[[float, str], float | None] | None = None,
        kill_at_s: float | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> Ended:
        """python train.py arguments, perhaps killed with SIGKILL.

        Args:
            kill: asked at each phase that the run enters: (seconds after the start, phase) -> after how many more
                seconds to kill it, or None.
            kill_at_s: kill it so many seconds after its start.
            prepare: called in the run's process before anything else.
        """
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        for file in (out, err):
            file.unlink(missing_ok=True)
        self._mark[:] = b"start".ljust(MARK)
        reader, writer = os.pipe()
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._become(list(arguments), out, err, writer, prepare)
        os.close(writer)
        self.pid = child
        deadline = [started + (TIMEOUT_S if kill_at_s is None else kill_at_s)]
        entered: list[tuple[float, str]] = []
        for name in _lines(reader, deadline):
            entered.append((time.monotonic() - started, name))
            if kill is not None and (after_s := kill(*entered[-1])) is not None:
                deadline[0] = time.monotonic() + after_s
        os.close(reader)
        if time.monotonic() >= deadline[0]:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return Ended(
            os.waitstatus_to_exitcode(status),
            self._mark[:].decode().strip(),
            time.monotonic() - started,
            out.read_text() if out.exists() else "",
            err.read_text() if err.exists() else "",
            entered,
            child,
        )

    def _become(
        self, arguments: list[str], out: Path, err: Path, pipe: int, prepare: Callable[[], None] | None
    ) -> None:
        """Turn this process into `python train.py arguments`; never returns."""
        status = 1
        try:
            os.setsid()  # so that its workers can be found when it is gone
            os.chdir(self.folder)
            for path, stream in ((os.devnull, 0), (out, 1), (err, 2)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), stream)
            sys.stdin, sys.stdout, sys.stderr = (
                os.fdopen(i, mode, closefd=False) for i, mode in enumerate(("r", "w", "w"))
            )
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._mark_phases(pipe)
            if prepare is not None:
                prepare()
            sys.argv = [str(REPOSITORY / "train.py"), *arguments]
            runpy.run_path(sys.argv[0], run_name="__main__")
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _mark_phases(self, pipe: int) -> None:
        """Wrap what begins a phase, in this process only."""

        def enter(name: str) -> None:
            if self._mark[:] != (mark := name.encode().ljust(MARK)):
                self._mark[:] = mark
                os.write(pipe, f"{name}\n".encode())

        def marked(function: Any, name: str) -> Any:
            @wraps(function)
            def with_mark(*args: Any, **kwargs: Any) -> Any:
                enter(name)
                try:
                    return function(*args, **kwargs)
                finally:
                    if name not in UNTIL_THE_NEXT:
                        enter("between")

            return with_mark

        for name, places in PHASES.items():
            for place in places:
                module, _, path = place.partition(":")
                owner: Any = import_module(module)
                *above, last = path.split(".")
                for part in above:
                    owner = getattr(owner, part)
                setattr(owner, last, marked(getattr(owner, last), name))


def _modules_of_phases() -> list[str]:
    return [place.partition(":")[0] for places in PHASES.values() for place in places]


def _lines(reader: int, deadline: list[float]) -> Iterator[str]:
    """Lines from a pipe until its other end is closed, or until the deadline, which the caller may change."""
    rest = b""
    while (seconds := deadline[0] - time.monotonic()) > 0:
        readable, _, _ = select.select([reader], [], [], seconds)
        chunk = os.read(reader, 4096) if readable else None
        if chunk == b"":
            return
        *whole, rest = (rest + (chunk or b"")).split(b"\n")
        yield from (line.decode() for line in whole)


def survivors(session: int) -> list[int]:
    """Processes of a run's session that still live: workers of a killed one."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, _, its_session = (entry / "stat").read_text().rpartition(") ")[2].split()[:4]
                if int(its_session) == session and state != "Z":
                    alive.append(int(entry.name))
    return alive


def seconds_until_gone(session: int, limit_s: float) -> float | None:
    """How long the session's processes go on living; None if longer than the limit."""
    started = time.monotonic()
    while survivors(session):
        if time.monotonic() - started > limit_s:
            return None
        time.sleep(0.05)
    return time.monotonic() - started


def differences(run: Path, other: Path) -> list[str]:
    """What two runs' folders do not have in common, bit for bit, leaving out what a clock said."""
    unequal = []
    for name in ("last", "final"):
        one, two = (torch.load(f / "checkpoints" / f"{name}.ckpt", weights_only=True) for f in (run, other))
        unequal += [f"{name}.ckpt: {place}" for place in _unequal(_timeless(one), _timeless(two), "")][:3]
    history, expected = read_assignments(run), read_assignments(other)
    if (history.names, history.epochs, history.samples) != (expected.names, expected.epochs, expected.samples):
        unequal.append(f"assignments: {history.names} and {expected.names}")
    elif not np.array_equal(history.labels, expected.labels) or history.objective != expected.objective:
        unequal.append("assignments")
    for file, read in (("metrics.csv", _rows), ("summary.json", _summary), ("untrained.json", Path.read_bytes)):
        if read(run / file) != read(other / file):
            unequal.append(file)
    if (run / "clusters.csv").read_bytes() != (other / "clusters.csv").read_bytes():
        unequal.append("clusters.csv")
    unequal += [f"left over: {path.name}" for path in run.rglob("*") if path.name.endswith(".part")]
    return unequal


def _unequal(one: Any, two: Any, place: str) -> list[str]:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return [] if torch.equal(one, two) else [place]
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return [where for key in one for where in _unequal(one[key], two[key], f"{place}/{key}")]
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        return [w for i, pair in enumerate(zip(one, two, strict=True)) for w in _unequal(*pair, f"{place}/{i}")]
    return [] if type(one) is type(two) and one == two else [place]


def _timeless(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _timeless(v) for k, v in content.items() if k != "seconds" and not str(k).startswith("time/")}
    return content


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(stream)]


def _summary(file: Path) -> dict[str, Any]:
    return {name: value for name, value in json.loads(file.read_text()).items() if name != "seconds"}
