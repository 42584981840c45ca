"""Read many images in threads, as decoders release Python's lock. A read that never ends raises with its name."""

import itertools
import logging
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import TypeVar

_log = logging.getLogger(__name__)
_REPORT_EVERY_S = 30.0
_CHECK_EVERY_S = 0.5  # whether an item takes too long
_STOP_S = 5.0  # how long a failure waits for the other threads

T = TypeVar("T")
R = TypeVar("R")
CORES = "DEEPCLUSTER_CORES"  # environment variable, which child processes inherit


def n_cores() -> int:
    """The number of cores that this process may use: by the system, or its share beside other jobs of a sweep."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = os.environ.get(CORES, "").strip() or str(allowed)
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise ValueError(f"the environment variable {CORES} must be a whole number of at least 1, got {text}; unset it")
    return min(allowed, int(text))


def keep_to_cores(n: int) -> None:
    """Limit this process, its threads and its data workers to n cores: its share beside other jobs of a sweep."""
    import torch  # here, because the command line imports this file and torch is slow to import
    from threadpoolctl import threadpool_limits

    os.environ[CORES] = str(n)
    torch.set_num_threads(min(n, torch.get_num_threads()))
    threadpool_limits(n)  # faiss's and numpy's


def for_each(
    n: int,
    work: Callable[[int], None],
    what: str,
    *,
    timeout_s: float | None = None,
    name: Callable[[int], str] = str,
) -> None:
    """Call work(0) .. work(n - 1) in threads, in any order; stop at the first exception.

    Args:
        what: the work, for a line in the log every 30 seconds.
        timeout_s, name: see :func:`in_threads`.

    Raises:
        TimeoutError: see :func:`in_threads`.
    """
    started = reported = time.monotonic()

    def report(n_done: int) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported > _REPORT_EVERY_S:
            reported = now
            _log.info("%s: %s of %s, %.0f/s", what, f"{n_done:,}", f"{n:,}", n_done / (now - started))

    # one thread more than cores: while one waits for the disk, the others decode
    in_threads(range(n), work, n_threads=n_cores() + 1, timeout_s=timeout_s, name=name, report=report)


def in_threads(
    items: Sequence[T],
    work: Callable[[T], R],
    *,
    n_threads: int,
    timeout_s: float | None,
    name: Callable[[T], str],
    report: Callable[[int], None] = lambda n_done: None,
) -> list[R]:
    """The results of work(item) for all items, in their order; stop at the first exception.

    The threads are daemons: one that hangs in a read of a dead disk does not keep the process alive.

    Args:
        timeout_s: the longest time that one item may take; None waits for ever.
        name: an item's name, for the error message.
        report: called every half second with about the number of items that are done.

    Raises:
        TimeoutError: if an item takes longer; names it.
    """
    results: list[R | None] = [None] * len(items)
    numbers, stopped = itertools.count(), threading.Event()  # next() of a count is safe in threads
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    in_work: dict[int, tuple[int, float]] = {}  # thread -> the item that it works on, and since when

    def run(thread: int) -> None:
        try:
            while (i := next(numbers)) < len(items) and not stopped.is_set():
                in_work[thread] = (i, time.monotonic())
                results[i] = work(items[i])
            ended.put(None)
        except BaseException as error:
            ended.put(error)
        finally:
            in_work.pop(thread, None)

    n_threads = min(n_threads, len(items))
    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(n_threads)]
    for thread in threads:
        thread.start()
    n_ended = 0
    try:
        while n_ended < n_threads:
            try:
                error = ended.get(timeout=_CHECK_EVERY_S)
            except queue.Empty:
                current = list(in_work.values())
                report(max((i for i, _ in current), default=0))
                i, since = min(current, key=lambda item: item[1], default=(0, math.inf))
                if timeout_s is not None and time.monotonic() - since > timeout_s:
                    raise TimeoutError(hung_message(name(items[i]), timeout_s)) from None
                continue
            if error is not None:
                raise error
            n_ended += 1
    except TimeoutError:
        stopped.set()  # without waiting for the threads: they may hang on the same disk
        raise
    except BaseException:
        stopped.set()
        deadline = time.monotonic() + _STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        raise
    return results  # type: ignore[return-value]  # none is missing


def ahead(executor: Executor, work: Callable[[T], R], items: Iterable[T], n: int) -> Iterator[R]:
    """Yield work(item) of each item in order; up to n are started in advance, and `items` may never end."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(executor.submit(work, item))
        if len(waiting) > n:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def hung_message(name: str, timeout_s: float) -> str:
    """The message for a read that does not end."""
    return (
        f"{name} cannot be read: no answer within reading.timeout_s={timeout_s:g} seconds. Check the disk or network "
        "that holds it, then start again or continue with resume=RUN; reading.timeout_s=SECONDS waits longer, null for "
        "ever"
    )
