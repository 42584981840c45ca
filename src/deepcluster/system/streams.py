"""Standard output that cannot be written, as after `| head`, on a full disk or closed: a run goes on without it.

What is said goes to the run's log from then on (`log_to`). Characters that a terminal cannot show are escaped.
"""

import io
import os
import select
import sys
from contextlib import suppress
from pathlib import Path

MOST_KEPT = 1 << 20  # bytes, until the run's log is known


class _Lasting(io.RawIOBase):
    """A descriptor whose writes never fail: after an error it leads to the run's log.

    Args:
        number: 1 or 2.
    """

    log: Path | None = None
    lost: "list[_Lasting]" = []  # noqa: RUF012  # those that wait for the log, of this process

    def __init__(self, number: int) -> None:
        self.number, self.kept = number, b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.number

    def isatty(self) -> bool:
        return os.isatty(self.number)

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]
        content = bytes(data)
        if self in self.lost:
            self.kept = (self.kept + content)[:MOST_KEPT]
            return len(content)
        while True:
            try:
                return os.write(self.number, content)
            except BlockingIOError:  # another program has set the terminal to non-blocking
                select.select([], [self.number], [])
            except OSError:
                self.lose(content)
                return len(content)

    def lose(self, content: bytes) -> None:
        """Lead the descriptor to the log, or to nowhere while there is none."""
        self.kept = content
        _lead(self.number, Path(os.devnull))
        self.lost.append(self)
        if self.log is not None:
            log_to(self.log)


def make_lasting() -> None:
    """Let a failing stdout or stderr of this process end nothing; called once, before the first line is printed."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        is_closed = stream is None
        if is_closed:
            with suppress(OSError):
                os.fstat(number)  # a file that has taken the free number: leave it, and print nowhere
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
                continue
            _lead(number, Path(os.devnull))
        elif not isinstance(stream, io.TextIOWrapper) or _number(stream) != number:
            continue  # a test's, or a notebook's
        raw = _Lasting(number)
        if is_closed:
            raw.lose(b"")
        else:
            with suppress(OSError):
                stream.flush()
        encoding = "utf-8" if is_closed else stream.encoding
        buffer = io.BufferedWriter(raw)  # type: ignore[type-var]  # it asks for no more than RawIOBase has
        text = io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", line_buffering=True)
        setattr(sys, name, text)


def log_to(file: Path) -> None:
    """What a lost stream has said, and will say, goes to this file."""
    _Lasting.log = file
    while _Lasting.lost:
        stream = _Lasting.lost.pop()
        _lead(stream.number, file)
        content, stream.kept = stream.kept, b""
        with suppress(OSError):
            os.write(stream.number, content)


def _number(stream: io.TextIOWrapper) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _lead(number: int, file: Path) -> None:
    """Let the descriptor write to the end of a file; to nowhere if that cannot be opened."""
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:
        opened = os.open(os.devnull, os.O_WRONLY)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    else:
        os.set_inheritable(number, True)
