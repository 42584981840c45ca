"""Ctrl-C, SIGTERM and SIGHUP end a process with one line and the exit status that shells know, at any moment.

Before the work begins nothing can be lost, so the process ends at once. Afterwards a signal raises KeyboardInterrupt,
and app/run_failure.py says how to go on. While Lightning trains in one process, SIGTERM is its own: it stops after a
batch. Several processes would hang by that, so there SIGTERM is as Ctrl-C (`take_back`).
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from deepcluster.system.leftover import STARTED_BY

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_SECOND = "\nstopped at once, by a second Ctrl-C\n"


class _State:
    """Of this process."""

    def __init__(self) -> None:
        self.work_has_begun = False
        self.received: int | None = None  # the signal that stops the work
        self.asked: int | None = None  # the signal by which Lightning stops after its batch
        self.tidy: Callable[[], Any] = lambda: None


_state = _State()


def end_quietly() -> None:
    """From now on a signal ends this process with one line; a signal that is ignored (nohup) stays so."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, signal.SIG_IGN if _ends_with_parent() else _stop)


def begin_work() -> None:
    """From now on a signal raises KeyboardInterrupt, so that what is done is kept."""
    end_quietly()
    _state.work_has_begun, _state.received, _state.asked = True, None, None


def stopped_by() -> int | None:
    """The signal that has stopped the work; None if none has."""
    return _state.received or _state.asked


def before_ending(tidy: Callable[[], Any]) -> None:
    """Call this when a signal comes before the work has begun, or one that ends it at once."""
    _state.tidy = tidy


def listen_again() -> None:
    """Let a second Ctrl-C end the process at once, where Lightning ignores it after the first."""
    is_main = threading.current_thread() is threading.main_thread()
    if _state.received == signal.SIGINT and is_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)


def take_back() -> None:
    """Let SIGTERM raise KeyboardInterrupt again, after Lightning has set its own handler."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN if _ends_with_parent() else _stop)


def end_with_parent() -> None:
    """In a process that reads images: Ctrl-C and SIGHUP, which a terminal sends to all, are for its parent."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)


def _ends_with_parent() -> bool:
    """Whether this is one of a run's processes that its first process ends: what is sent to all is for that one."""
    return os.environ.get(STARTED_BY) == str(os.getppid())


def _stop(number: int, frame: FrameType | None) -> None:
    of_term = signal.getsignal(signal.SIGTERM)
    if number != signal.SIGINT and of_term is not _stop:  # Lightning's, which calls this one too
        if _state.asked is None:
            _state.asked = number
            if number != signal.SIGTERM:  # SIGHUP as SIGTERM
                os.kill(os.getpid(), signal.SIGTERM)
        return
    if not _state.work_has_begun:
        _end(number, "\nstopped before the work began\n")
    if _state.received is not None:
        if number == signal.SIGINT:
            _end(number, _SECOND)
        return  # it is stopping
    _state.received = number
    raise KeyboardInterrupt


def _end(number: int, line: str) -> None:
    with suppress(Exception):
        sys.stderr.write(line)
        sys.stderr.flush()
    with suppress(Exception):
        _state.tidy()
    for child in multiprocessing.active_children():
        with suppress(Exception):
            child.kill()
    os._exit(128 + number)
