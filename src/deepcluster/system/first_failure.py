"""Of G processes the first that fails says why, and the others end quietly, wherever they wait.

An error between two collective calls is shared at once (distributed.shared_failure). Everywhere else, as in a training
step, the others would wait for the one that failed: with gloo until it has ended, with NCCL until the time-out. So the
first to fail writes a file into the run's folder, which all processes watch.
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

from deepcluster.system import distributed
from deepcluster.system.quoting import argument

STARTED = time.time()  # a file that is older is of a run before this one
POLL_S = 0.1
PATIENCE_S = 10.0  # for the end that an error of the connection brings by itself
TIMED_OUT = re.compile(r"[Tt]imed out|[Tt]imeout")
BROKEN_CONNECTION = re.compile(r"gloo|NCCL|Connection (closed|reset)|Broken pipe|TCPStore|recvValue|sendBytes")


class FailedElsewhere(Exception):
    """Another process has failed, and has said why."""


class ProcessLost(RuntimeError):
    """Another process has ended without saying why, as when it is killed."""


class FirstFailure:
    """The file by which the processes of a run know that one of them has failed.

    Args:
        folder: the run's, which all of them see.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / ".failed"
        self.children: Sequence[subprocess.Popen[bytes]] = []
        self._ended = threading.Event()

    def claim(self, why: str) -> bool:
        """Whether this process is the first to fail, and so the one that says why."""
        for _ in range(2):
            try:
                with self.file.open("x") as file:
                    file.write(f"{distributed.rank_at_start()}\n{why}\n")
                return True
            except FileExistsError:
                if self.reason() is not None:
                    return False
                self.file.unlink(missing_ok=True)
            except OSError:  # a full disk: an error that is printed twice is better than none
                return True
        return False

    def reason(self) -> str | None:
        """Why the first process failed; None if none has."""
        try:
            if self.file.stat().st_mtime < STARTED - 0.1:  # the clock of some file systems ticks coarsely
                return None
            return self.file.read_text().partition("\n")[2].strip()
        except OSError:
            return None

    def follow(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        """Notice when one of the processes that this one has started is killed."""
        self.children = children

    @contextmanager
    def one_speaks(self) -> Iterator[None]:
        """Run this process's part.

        Raises:
            FailedElsewhere: if another process was the first to fail.
            ProcessLost: if another has ended without saying why, and this is the first to notice.
        """
        if distributed.starter() is None and distributed.n_started() == 1:  # there are no others yet
            self._forget()
        threading.Thread(target=self._watch, daemon=True, name="first-failure").start()
        try:
            yield
        except Exception as error:
            if distributed.n_started() == 1:
                raise
            follows = isinstance(error, distributed.OtherProcessFailed)
            message = str(error) if isinstance(error, RuntimeError) and not follows else ""
            late = TIMED_OUT.search(message) is not None
            lost = BROKEN_CONNECTION.search(message) is not None
            if follows or late or lost:
                self._wait_for_reason()
            if not self.claim(f"{type(error).__name__}: {error}"):
                raise FailedElsewhere(self.reason()) from error
            if late:
                raise ProcessLost(
                    "this process has waited longer than trainer.timeout_minutes for another one; raise it if the "
                    "first process was clustering, or measuring the untrained network, meanwhile. If it was not, one "
                    "of the processes hangs" + self._how_to_go_on()
                ) from error
            if lost:
                raise ProcessLost(self._what_was_lost()) from error
            raise
        finally:
            self._ended.set()

    def _forget(self) -> None:
        """Remove the file of an earlier run's failure: a disk's clock ahead of ours would make it new."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)

    def _wait_for_reason(self) -> None:
        """Wait a moment for the reason: the process that failed is writing its file, or was killed."""
        until = time.monotonic() + 2.0
        while self.reason() is None and time.monotonic() < until:
            time.sleep(POLL_S)

    def _what_was_lost(self) -> str:
        killed = [(i, child.poll()) for i, child in enumerate(self.children, start=1)]
        for number, status in killed:
            if status:
                return self._obituary(f"process {number}", status)
        return self._obituary("another process of this run", None)

    def _watch(self) -> None:
        """In a thread of its own: end this process when another has failed, if it does not end by itself."""
        parent = os.getppid()
        while not self._ended.wait(POLL_S):
            orphan = distributed.has_starter() and os.getppid() != parent
            dead = [(number, child.poll()) for number, child in enumerate(self.children, start=1) if child.poll()]
            for number, status in dead[:1]:
                word = self._obituary(f"process {number}", status)
                if self.claim(word):  # printed now: with NCCL the connection never breaks
                    print(f"\nerror: {word}", file=sys.stderr, flush=True)
            if orphan or dead or (distributed.n_started() > 1 and self.reason() is not None):
                if not self._ended.wait(PATIENCE_S):
                    for child in self.children:
                        child.kill()
                    sys.stderr.flush()
                    os._exit(1)
                return

    def _obituary(self, who: str, status: int | None) -> str:
        how = "has ended without a word"
        if status is not None and status < 0:
            how = f"was killed ({signal.Signals(-status).name})"
        return f"{who} {how}, as when memory runs out{self._how_to_go_on()}"

    def _how_to_go_on(self) -> str:
        folder = self.file.parent
        saved = (folder / "checkpoints" / "last.ckpt").is_file()
        return f"; continue with: python train.py {argument('resume', folder)}" if saved else ""
