"""Ends a measurement when --minutes are over; its run's last checkpoint stays."""

import contextlib
import signal
import time
from collections.abc import Iterator


class OutOfTime(BaseException):
    """The minutes are over. No Exception, so that nothing takes it for a failure of its own."""


class Deadline:
    """So many minutes from now.

    Args:
        minutes: None: there is no end.
    """

    def __init__(self, minutes: float | None) -> None:
        self.at = None if minutes is None else time.monotonic() + 60 * minutes
        self.is_over = False

    @contextlib.contextmanager
    def stops(self) -> Iterator[None]:
        """Stop what is done within this context when the time is over.

        Raises:
            OutOfTime: then, or at once if it is over already.
        """
        if self.at is None:
            yield
            return
        left = self.at - time.monotonic()
        if left <= 0:
            raise OutOfTime
        before = signal.signal(signal.SIGALRM, self._stop)
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            yield
        except BaseException:  # a library may have made another error of it
            if self.is_over:
                raise OutOfTime from None
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _stop(self, number: int, frame: object) -> None:
        self.is_over = True
        raise OutOfTime
