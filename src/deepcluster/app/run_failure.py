"""How a run's failure or stop is told: one line with the way out; the traceback stays in the run's folder.

train_command.py and eval_command.py put their work inside `told_in_one_line`.
"""

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from pytorch_lightning.utilities.exceptions import SIGTERMException

from deepcluster.app.errors import JobFailed, is_disk_full, sentence, user_errors, write_traceback
from deepcluster.data.loader import worker_died
from deepcluster.system import distributed
from deepcluster.system.first_failure import FailedElsewhere


def is_sweep() -> bool:
    """Whether this run is a job of a sweep."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def unsaid(folder: Path) -> str:
    """How a job of a sweep goes on: sweep/end.py says it once, of the whole sweep."""
    return ""


@contextmanager
def told_in_one_line(folder: Path, how_to_go_on: Callable[[Path], str]) -> Iterator[None]:
    """Tell a failure in one line and keep its traceback in the folder; after Ctrl-C or SIGTERM tell how to go on.

    Args:
        folder: the run's.
        how_to_go_on: what follows the word "stopped", given the folder.

    Raises:
        SystemExit: after a failure has been told; a fault of ours keeps its traceback.
        JobFailed: instead, in a sweep, which goes on with its next job.
    """
    number = distributed.rank_at_start()
    try:
        yield
    except FailedElsewhere as elsewhere:
        if is_sweep():
            raise JobFailed(str(elsewhere)) from elsewhere
        raise SystemExit(_status_of_failure()) from None
    except Exception as raised:
        error = _for_the_user(raised)
        if error is None and number == 0:
            raise
        if error is None:
            traceback.print_exc()
            raise SystemExit(_status_of_failure()) from None
        advice = write_traceback(raised, folder)
        if is_disk_full(error) and "Make room" not in str(error):
            advice = f"make room{how_to_go_on(folder)}\n{advice}".rstrip()
        elif error is not raised:
            advice = f"stopped{how_to_go_on(folder)}\n{advice}".rstrip()
        print(f"\nerror: {f'process {number}: ' if number else ''}{sentence(error)}\n{advice}", file=sys.stderr)
        if is_sweep():  # Hydra goes on with the next job and raises this at the end
            raise JobFailed(sentence(error)) from raised
        raise SystemExit(_status_of_failure()) from None
    except (KeyboardInterrupt, SystemExit) as stopped:  # Lightning turns the one into the other
        if number:  # the first process tells it
            raise SystemExit(1) from None
        by_hand = isinstance(stopped, KeyboardInterrupt) or isinstance(stopped.__context__, KeyboardInterrupt)
        if not by_hand and not isinstance(stopped, SIGTERMException):
            raise
        print(f"\nstopped{how_to_go_on(folder)}", file=sys.stderr)
        # 128 + the signal's number, as shells have it; Lightning's SIGTERMException would end with 0
        raise SystemExit(128 + (signal.SIGINT if by_hand else signal.SIGTERM)) from None


def _for_the_user(error: Exception) -> Exception | None:
    """The error as a person can act on it; None if the fault is ours."""
    if isinstance(error, user_errors()):
        return error
    return worker_died(error) if isinstance(error, RuntimeError) else None


def _status_of_failure() -> int:
    """1, but 0 of a process that Lightning has started.

    Until training/processes.py has sent its observer home, Lightning kills the first process, and with it a whole
    sweep, within 5 s after one of its children has ended with another status. The first process learns of the failure
    from first_failure.py and ends with 1.
    """
    return 0 if distributed.has_starter() and distributed.starter() is None else 1
