"""Starts train.py and eval.py as a user does, each in a process of its own, without paying for the imports each time.

`python tests/typed.py` imports everything once and waits; each line on its stdin names an entry file, its arguments
and where its output goes. It forks, and the child runs the entry file as `python train.py ...` would.
"""

import atexit
import contextlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
TIMEOUT_S = 900  # generous: other work may occupy the machine
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Finished:
    """How a command ended: exit status (negative: the signal that ended it) and what it printed."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that begin with `error:`."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]


class Typist:
    """Types commands, one at a time; the folder takes their output and is where they run.

    Args:
        folder: working directory of the commands.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_typed = 0
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**clean_environment(), "XDG_CACHE_HOME": str(folder / "cache")},
        )

    def train(self, *arguments: str, kill: list[Any] | None = None, terminal: str | None = None) -> Finished:
        """python train.py arguments.

        Args:
            kill: where the process kills itself with SIGKILL: ["step", epoch, batch], or ["k-means", number of the
                clustering in this process, iteration]; another signal's name may follow.
            terminal: path of a terminal to run on, instead of files.
        """
        return self.type("train.py", *arguments, kill=kill, terminal=terminal)

    def eval(self, *arguments: str) -> Finished:
        """python eval.py arguments."""
        return self.type("eval.py", *arguments)

    def type(self, entry: str, *arguments: str, kill: list[Any] | None = None, terminal: str | None = None) -> Finished:
        self.n_typed += 1
        out, err = (self.folder / f"typed_{self.n_typed}.{name}" for name in ("out", "err"))
        request = {
            "entry": str(REPOSITORY / entry),
            "arguments": arguments,
            "out": terminal or str(out),
            "err": terminal or str(err),
            "kill": kill,
        }
        status = int(self._answer(json.dumps(request)))
        if terminal is not None:
            return Finished(status, "", "")
        return Finished(status, out.read_text(), err.read_text())

    def _answer(self, request: str) -> str:
        """The server's line to a request.

        Raises:
            RuntimeError: if the server has ended, for example while it imported, or does not answer.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended; the empty answer tells it
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        readable, _, _ = select.select([self.process.stdout], [], [], TIMEOUT_S + 60)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            self.process.kill()
            how = f"ended with status {self.process.wait()}" if readable else f"gave no answer in {TIMEOUT_S + 60} s"
            raise RuntimeError(f"the process that runs train.py and eval.py {how}; its stderr tells why")
        return line

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def clean_environment() -> dict[str, str]:
    """The environment without what would make the commands do something else."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "HYDRA", "LOCAL_RANK"))} | ENVIRONMENT


def serve() -> None:
    """Read requests, fork for each, answer with the exit status."""
    sys.path.insert(0, str(REPOSITORY))
    import pytorch_lightning.loggers  # noqa: F401
    import tensorboard  # noqa: F401

    import deepcluster.command_line  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            become(**request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(*, entry: str, arguments: list[str], out: str, err: str, kill: list[Any] | None) -> None:
    """Turn this process into `python entry arguments`; never returns."""
    signal.alarm(TIMEOUT_S)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    for path, stream in ((os.devnull, 0), (out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), stream)
    if kill is not None:
        kill_at(*kill)
    sys.argv = [entry, *arguments]
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(i, mode) for i, mode in enumerate(("r", "w", "w")))
    status = 0
    try:
        runpy.run_path(entry, run_name="__main__")
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # the order in which Python ends: joblib's processes hang on it
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def kill_at(place: str, first: int, second: int, name: str = "SIGKILL") -> None:
    """Make this process kill itself as `kill -9` would, without tidying up, or send itself another signal."""
    from deepcluster.clustering.kmeans import KMeans
    from deepcluster.training.module import DeepClusterModule

    def die() -> None:
        os.kill(os.getpid(), signal.Signals[name])

    if place == "step":
        step = DeepClusterModule.training_step

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            if (self.current_epoch, batch_idx) == (first, second):
                die()
            return step(self, batch, batch_idx)

        DeepClusterModule.training_step = training_step  # type: ignore[method-assign]
        return
    assert place == "k-means", place
    fit, calls = KMeans.fit, []

    def fit_or_die(self: Any, features: Any, *, seed: int, device: Any, progress: Any) -> Any:
        calls.append(1)

        def advance(done: int, total: int) -> None:
            if len(calls) == first and done == second:
                die()
            progress(done, total)

        return fit(self, features, seed=seed, device=device, progress=advance)

    KMeans.fit = fit_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
