"""When one of G processes fails, it reports why, and the others end quietly, wherever they wait.

distributed.shared_failure shares an error between two collective calls at once. Everywhere else, as in a training step,
the others would wait for the failed process: with gloo until it has ended, with NCCL until the time-out. So the first
one to fail writes a file into the run's folder, which all processes watch.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deepcluster.system import distributed, stop_signals
from deepcluster.system.program import program
from deepcluster.system.quoting import argument

STARTED = time.time()  # an older file was written by an earlier run
POLL_S = 0.1
PATIENCE_S = 10.0  # a process gets this time to end by itself, with an error of its connection
TIMED_OUT = re.compile(r"[Tt]imed out|[Tt]imeout")
BROKEN_CONNECTION = re.compile(r"gloo|NCCL|Connection (closed|reset)|Broken pipe|TCPStore|recvValue|sendBytes")


class FailedElsewhere(Exception):
    """Another process has failed and has reported why."""


class ProcessLost(RuntimeError):
    """Another process has ended without reporting why, for example because it was killed."""


class FirstFailure:
    """The file by which the processes of a run learn that one of them has failed.

    Args:
        folder: of the run; all processes see it.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / ".failed"
        self.children: Sequence[subprocess.Popen[bytes]] = []
        self._ended = threading.Event()

    def claim(self, why: str) -> bool:
        """Write why this process fails; False if another one was first, which then reports."""
        for _ in range(2):
            try:
                with self.file.open("x") as file:
                    file.write(f"{distributed.rank_at_start()}\n{why}\n")
                return True
            except FileExistsError:
                if self.reason() is not None:
                    return False
                self.file.unlink(missing_ok=True)
            except OSError:  # a full disk: better to report an error twice than never
                return True
        return False

    def reason(self) -> str | None:
        """Why the first process failed; None if no process has failed."""
        try:
            if self.file.stat().st_mtime < STARTED - 0.1:  # some file systems round the time
                return None
            return self.file.read_text().partition("\n")[2].strip()
        except OSError:
            return None

    def follow(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        """Watch processes that this one has started, to notice when one is killed."""
        self.children = children

    @contextmanager
    def one_reports(self) -> Iterator[None]:
        """Run this process's part; of all processes only the first to fail raises its own error.

        Raises:
            FailedElsewhere: if another process was the first to fail.
            ProcessLost: if another one has ended without reporting why, and this one notices first.
        """
        if distributed.starter() is None and distributed.n_started() == 1:  # there are no others yet
            with suppress(OSError):  # an earlier run's file, which looks new where the disk's clock is ahead of ours
                self.file.unlink(missing_ok=True)
        threading.Thread(target=self._watch, daemon=True, name="first-failure").start()
        try:
            yield
        except Exception as error:
            if distributed.n_started() == 1:
                raise
            follows = isinstance(error, distributed.OtherProcessFailed)
            message = str(error) if isinstance(error, RuntimeError) and not follows else ""
            timed_out = TIMED_OUT.search(message) is not None
            connection_lost = BROKEN_CONNECTION.search(message) is not None
            if follows or timed_out or connection_lost:
                self._wait_for_reason()
            if not self.claim(f"{type(error).__name__}: {error}"):
                raise FailedElsewhere(self.reason()) from error
            if timed_out:
                raise ProcessLost(
                    "this process has waited longer than trainer.timeout_minutes for another one; raise it if the "
                    "first process was clustering or measuring the untrained network. If not, one of the processes "
                    "hangs" + self._how_to_continue()
                ) from error
            if connection_lost:
                raise ProcessLost(self._lost_process()) from error
            raise
        finally:
            self._ended.set()

    def _wait_for_reason(self) -> None:
        """Wait up to 2 seconds for the reason: the failed process may be writing its file now."""
        until = time.monotonic() + 2.0
        while self.reason() is None and time.monotonic() < until:
            time.sleep(POLL_S)

    def _dead_child(self) -> tuple[str, int] | None:
        """The first of the processes that this one has started that has failed, and its status."""
        statuses = ((f"process {number}", child.poll()) for number, child in enumerate(self.children, start=1))
        return next(((name, status) for name, status in statuses if status), None)

    def _lost_process(self) -> str:
        return self._end_of(*(self._dead_child() or ("another process of this run", None)))

    def _watch(self) -> None:
        """Run in a thread: end this process when another one has failed, if it does not end by itself."""
        parent = os.getppid()
        while not self._ended.wait(POLL_S):
            orphan = distributed.has_starter() and os.getppid() != parent
            dead = self._dead_child()
            if dead is not None and stop_signals.stopped_by() is None:
                message = self._end_of(*dead)
                if self.claim(message):  # printed now, because with NCCL the connection never breaks
                    print(f"\nerror: {message}", file=sys.stderr, flush=True)
            if orphan or dead is not None or (distributed.n_started() > 1 and self.reason() is not None):
                if not self._ended.wait(PATIENCE_S):
                    for child in self.children:
                        child.kill()
                    sys.stderr.flush()
                    os._exit(1)
                return

    def _end_of(self, process: str, status: int | None) -> str:
        how = "has ended without an error message"
        if status is not None and status < 0:
            how = f"was killed ({signal.Signals(-status).name})"
        return f"{process} {how}, as when memory runs out{self._how_to_continue()}"

    def _how_to_continue(self) -> str:
        folder = self.file.parent
        saved = (folder / "checkpoints" / "last.ckpt").is_file()
        return f"; continue with: {program('train')} {argument('resume', folder)}" if saved else ""
