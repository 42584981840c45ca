"""Of G processes the first that fails tells why, and the others end quietly, wherever they wait.

An error between two collective calls is shared at once (distributed.shared_failure). Everywhere else, as in a training
step, the others would wait for the one that failed: for gloo until it has ended, for NCCL until the time-out. So the
first to fail leaves a file in the run's folder, which all of them watch. command_line.py uses it.
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
    """Another process has failed, and has told why."""


class ProcessLost(RuntimeError):
    """Another process has ended without a word, as when it is killed."""


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
        """Whether this process is the first to fail, and so the one to speak."""
        for _ in range(2):
            try:
                with self.file.open("x") as file:
                    file.write(f"{distributed.rank_at_start()}\n{why}\n")
                return True
            except FileExistsError:
                if self.told() is not None:
                    return False
                self.file.unlink(missing_ok=True)
            except OSError:  # a full disk: better twice than not at all
                return True
        return False

    def told(self) -> str | None:
        """What the process that failed first has said, None if none has."""
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
            told = str(error) if isinstance(error, RuntimeError) and not follows else ""
            late = TIMED_OUT.search(told) is not None
            lost = BROKEN_CONNECTION.search(told) is not None
            if follows or late or lost:
                self._wait_for_word()
            if not self.claim(f"{type(error).__name__}: {error}"):
                raise FailedElsewhere(self.told()) from error
            if late:
                raise ProcessLost(
                    "this process has waited longer than trainer.timeout_minutes for another one; raise it if the "
                    "first process was clustering, or measuring the untrained network, meanwhile. Else one hangs"
                    + self._how_to_go_on()
                ) from error
            if lost:
                raise ProcessLost(self._what_was_lost()) from error
            raise
        finally:
            self._ended.set()

    def _forget(self) -> None:
        """An earlier run's failure; by its time alone it would count where the disk's clock is ahead of ours."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)

    def _wait_for_word(self) -> None:
        """The one that failed is writing its file, or was killed."""
        until = time.monotonic() + 2.0
        while self.told() is None and time.monotonic() < until:
            time.sleep(POLL_S)

    def _what_was_lost(self) -> str:
        killed = [(i, child.poll()) for i, child in enumerate(self.children, start=1)]
        for number, status in killed:
            if status:
                return self._obituary(f"process {number}", status)
        return self._obituary("another process of this run", None)

    def _watch(self) -> None:
        """In a thread of its own: end this process if another has failed and this one does not notice."""
        parent = os.getppid()
        while not self._ended.wait(POLL_S):
            orphan = distributed.has_starter() and os.getppid() != parent
            dead = [(number, child.poll()) for number, child in enumerate(self.children, start=1) if child.poll()]
            for number, status in dead[:1]:
                word = self._obituary(f"process {number}", status)
                if self.claim(word):  # told now, not when the connection breaks: with NCCL it does not
                    print(f"\nerror: {word}", file=sys.stderr, flush=True)
            if orphan or dead or (distributed.n_started() > 1 and self.told() is not None):
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
