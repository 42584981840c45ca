"""A failed or stopped run ends with one line that says the way out; the traceback goes to the run's folder.

train_command.py and eval_command.py do their work inside `report_failure`.
"""

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from pytorch_lightning.utilities.exceptions import SIGTERMException

from deepcluster.app.errors import ERROR_LOG, JobFailed, is_disk_full, message_for_user, user_errors, write_traceback
from deepcluster.data.loader import worker_died
from deepcluster.settings.run_folder import remove_unused
from deepcluster.system import distributed, stop_signals, streams
from deepcluster.system.first_failure import FailedElsewhere


def is_sweep() -> bool:
    """Whether this run is a job of a sweep."""
    return HydraConfig.initialized() and bool(HydraConfig.get().mode == RunMode.MULTIRUN)


@contextmanager
def report_failure(folder: Path, job: str, how_to_go_on: Callable[[Path], str]) -> Iterator[None]:
    """Print one line for a failure and write its traceback to the folder; after Ctrl-C or SIGTERM say how to go on.

    Args:
        folder: the run's.
        job: "train" or "eval": the name of the log that keeps what is printed where a stream breaks.
        how_to_go_on: folder -> what follows the word "stopped" in a single run. In a sweep nothing follows:
            sweep/end.py says once how to go on with all of it.

    Raises:
        SystemExit: after the line is printed. A fault of ours is raised as it is.
        JobFailed: instead of SystemExit in a sweep, which goes on with its next job.
    """
    rank = distributed.rank_at_start()
    streams.log_to(folder.absolute() / f"{job}.log")
    stop_signals.begin_work()
    try:
        yield
        if rank == 0:
            (folder / ERROR_LOG).unlink(missing_ok=True)  # of an earlier start that failed
    except FailedElsewhere as elsewhere:
        if is_sweep():
            raise JobFailed(str(elsewhere)) from elsewhere
        raise SystemExit(_status_of_failure()) from None
    except Exception as raised:
        if stop_signals.stopped_by() is not None:  # a library has made another error of KeyboardInterrupt
            _end_stopped(folder, how_to_go_on, rank, signal.SIGINT)
        error = _error_of_user(raised)
        if error is None and rank == 0:
            raise
        if error is None:
            traceback.print_exc()
            raise SystemExit(_status_of_failure()) from None
        advice = "" if remove_unused(folder) else write_traceback(raised, folder)
        if is_disk_full(error) and "Make room" not in str(error):
            advice = f"make room{_go_on(folder, how_to_go_on)}\n{advice}".rstrip()
        elif error is not raised:
            advice = f"stopped{_go_on(folder, how_to_go_on)}\n{advice}".rstrip()
        process = f"process {rank}: " if rank else ""
        print(f"\nerror: {process}{message_for_user(error)}\n{advice}".rstrip(), file=sys.stderr)
        if is_sweep():  # Hydra goes on with the next job and raises this at the end
            raise JobFailed(message_for_user(error)) from raised
        raise SystemExit(_status_of_failure()) from None
    except (KeyboardInterrupt, SystemExit) as stopped:  # Lightning turns KeyboardInterrupt into SystemExit
        by_hand = isinstance(stopped, KeyboardInterrupt) or isinstance(stopped.__context__, KeyboardInterrupt)
        if not by_hand and not isinstance(stopped, SIGTERMException) and not rank:
            raise
        _end_stopped(folder, how_to_go_on, rank, signal.SIGINT if by_hand else signal.SIGTERM)


def _end_stopped(folder: Path, how_to_go_on: Callable[[Path], str], rank: int, by: int) -> NoReturn:
    """Say how to go on, and end with 128 + the signal's number, as shells have it.

    Args:
        by: the signal, unless one that was received is known.
    """
    if rank:  # process 0 prints the line
        raise SystemExit(1) from None
    print(f"\nstopped{_go_on(folder, how_to_go_on)}", file=sys.stderr)
    remove_unused(folder)
    raise SystemExit(128 + (stop_signals.stopped_by() or by)) from None


def _go_on(folder: Path, how_to_go_on: Callable[[Path], str]) -> str:
    return "" if is_sweep() else how_to_go_on(folder)


def _error_of_user(error: Exception) -> Exception | None:
    """The error as a user can act on it; None if the fault is ours."""
    if isinstance(error, user_errors()):
        return error
    return worker_died(error) if isinstance(error, RuntimeError) else None


def _status_of_failure() -> int:
    """The exit status: 1, but 0 in a process that Lightning has started.

    Lightning kills the first process, and with it a whole sweep, within 5 s after one of its children has ended with
    another status than 0, until training/processes.py has stopped Lightning's observer. The first process learns of
    the failure from first_failure.py and ends with 1.
    """
    return 0 if distributed.has_starter() and distributed.starter() is None else 1
