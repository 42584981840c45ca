"""Starts train.py and eval.py as a user does, each in a process of its own, without paying for the imports each time.

`python tests/support/typed.py` imports everything and reads the configs once, and waits; each line on its stdin names
one command, or several that run at the same time: entry file, arguments, folder, environment and where the output goes.
It forks for each, and the child runs the entry file as `python train.py ...` would. All typists of a process share one,
as the imports take long.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
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


class Server:
    """The process that has imported everything and forks."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )

    def run(self, *commands: dict[str, Any]) -> list[int]:
        """The exit statuses of commands that run at the same time: arguments of :func:`become`.

        Raises:
            RuntimeError: if the server has ended, for example while it imported, or does not answer.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended; the empty answer tells it
            self.process.stdin.write(json.dumps(commands) + "\n")
            self.process.stdin.flush()
        patience_s = len(commands) * TIMEOUT_S + 60
        readable, _, _ = select.select([self.process.stdout], [], [], patience_s)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            self.process.kill()
            how = f"ended with status {self.process.wait()}" if readable else f"gave no answer in {patience_s} s"
            raise RuntimeError(f"the process that runs train.py and eval.py {how}; its stderr tells why")
        statuses: list[int] = json.loads(line)
        return statuses

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@functools.cache
def shared_server() -> Server:
    """That of this process; it ends with it."""
    server = Server()
    atexit.register(server.close)
    return server


class Typist:
    """Types commands; the folder takes their output and is where they run.

    Args:
        folder: working directory of the commands, which also have their cache there.
        server: which forks for them; None: the one that all share.
    """

    def __init__(self, folder: Path, server: Server | None = None) -> None:
        self.folder = folder
        self.n_typed = 0
        self.server = server or shared_server()

    def train(self, *arguments: str, kill: list[Any] | None = None, terminal: str | None = None) -> Finished:
        """python train.py arguments.

        Args:
            kill: where the process kills itself with SIGKILL: ["step", epoch, batch], or ["k-means", number of the
                clustering in this process, iteration]; another signal's name may follow.
            terminal: path of a terminal to run on, instead of files.
        """
        command = self.command(REPOSITORY / "train.py", *arguments, kill=kill)
        if terminal is None:
            return self.type(command)[0]
        (status,) = self.server.run(command | {"out": terminal, "err": terminal})
        return Finished(status, "", "")

    def eval(self, *arguments: str) -> Finished:
        """python eval.py arguments."""
        return self.type(self.command(REPOSITORY / "eval.py", *arguments))[0]

    def benchmark(self, name: str, *arguments: str) -> Finished:
        """python -m benchmarks.NAME arguments."""
        file, package = REPOSITORY / "benchmarks" / f"{name}.py", REPOSITORY / "benchmarks" / name / "__main__.py"
        return self.type(self.command(file if file.is_file() else package, *arguments))[0]

    def command(
        self,
        entry: Path,
        *arguments: str,
        kill: list[Any] | None = None,
        environment: dict[str, str] | None = None,
        timeout_s: int = TIMEOUT_S,
    ) -> dict[str, Any]:
        """What the server is to do for `python entry arguments`."""
        self.n_typed += 1
        return {
            "entry": str(entry),
            "arguments": arguments,
            "folder": str(self.folder),
            "environment": {"XDG_CACHE_HOME": str(self.folder / "cache"), **(environment or {})},
            "out": str(self.folder / f"typed_{self.n_typed}.out"),
            "err": str(self.folder / f"typed_{self.n_typed}.err"),
            "kill": kill,
            "timeout_s": timeout_s,
        }

    def type(self, *commands: dict[str, Any]) -> list[Finished]:
        """Several at the same time."""
        statuses = self.server.run(*commands)
        printed = [[Path(command[stream]).read_text() for stream in ("out", "err")] for command in commands]
        return [Finished(status, *both) for status, both in zip(statuses, printed, strict=True)]


def clean_environment() -> dict[str, str]:
    """The environment without what would make the commands do something else."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "HYDRA", "LOCAL_RANK"))} | ENVIRONMENT


def serve() -> None:
    """Read requests, fork for each, answer with the exit status."""
    sys.path.insert(0, str(REPOSITORY))
    # Not faiss: loaded here, its threads are set up before the command's own settings, and runs differ in last bits.
    for name in ("pytorch_lightning.loggers", "tensorboard", *_package()):
        import_module(name)
    _compose()
    gc.freeze()  # what is there stays: no fork has to look through it, and copy its pages
    for line in sys.stdin:
        children = []
        for command in json.loads(line):
            children.append(os.fork())
            if children[-1] == 0:
                become(**command)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(statuses), flush=True)


def _package() -> list[str]:
    """All modules of ours, so that no command pays for importing them and what they import."""
    import deepcluster  # here, because this process has started for that

    return [module.name for module in pkgutil.walk_packages(deepcluster.__path__, "deepcluster.")]


def _compose() -> None:
    """Have the schemas registered and the configs read, so that no command pays for what others have done before it."""
    from hydra import compose, initialize_config_dir  # here, as above

    sys.path.insert(0, str(REPOSITORY / "tests"))
    from support import composing
    from support.configs import CONFIGS

    from deepcluster.app.hydra_setup import register

    sys.path.pop(0)
    composing.register_once()
    composing.read_configs_once()
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for name in ("train", "eval"):
            compose(name)


def become(
    *,
    entry: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    out: str,
    err: str,
    kill: list[Any] | None,
    timeout_s: int,
) -> None:
    """Turn this process into `python entry arguments`; never returns."""
    signal.alarm(timeout_s)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    os.chdir(folder)
    os.environ.update(environment)
    for path, stream in ((os.devnull, 0), (out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), stream)
    if kill is not None:
        kill_at(*kill)
    sys.argv = [entry, *arguments]
    streams = (os.fdopen(i, mode, closefd=False) for i, mode in enumerate(("r", "w", "w")))
    sys.stdin, sys.stdout, sys.stderr = streams
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

    def fit_or_die(self: Any, features: Any, *, progress: Any = None, **options: Any) -> Any:
        if progress is None:  # a measurement's, not the run's clustering
            return fit(self, features, **options)
        calls.append(1)

        def advance(done: int, total: int) -> None:
            if len(calls) == first and done == second:
                die()
            progress(done, total)

        return fit(self, features, progress=advance, **options)

    KMeans.fit = fit_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
