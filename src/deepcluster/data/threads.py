"""Work on many images in threads: decoders release Python's lock. Used by scan.py and statistics.py."""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_log = logging.getLogger(__name__)
_CHUNK = 64  # images per task: small ones take 0.1 ms each, less than handing over a task
_REPORT_EVERY_S = 30.0
CORES = "DEEPCLUSTER_CORES"  # environment variable, also for the processes that this one starts


def n_cores() -> int:
    """Cores that this process may use: the system's limit, or its share beside other jobs of a sweep."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, int(os.environ.get(CORES) or allowed))


def for_each(n: int, work: Callable[[int], None], what: str) -> None:
    """Call work(0) .. work(n - 1) in threads, in any order; the first exception ends it."""

    def chunk(start: int) -> int:
        stop = min(start + _CHUNK, n)
        for i in range(start, stop):
            work(i)
        return stop

    started = reported = time.monotonic()
    # one thread more than cores: while one waits for the disk, the others decode
    executor = ThreadPoolExecutor(n_cores() + 1)
    try:
        for done in executor.map(chunk, range(0, n, _CHUNK)):
            now = time.monotonic()
            if now - reported > _REPORT_EVERY_S:
                reported = now
                _log.info("%s: %s of %s, %.0f/s", what, f"{done:,}", f"{n:,}", done / (now - started))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
