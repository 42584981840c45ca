"""An evaluation's numbers to the logger, as eval/NAME: evaluate.py opens it before the work and logs after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepcluster.settings.eval import EvalConfig
from deepcluster.system.progress import Progress
from deepcluster.tracking.recorder import Place, Recorder


@contextmanager
def result_log(config: EvalConfig, folder: Path, run: Path | None, progress: Progress) -> Iterator[Recorder | None]:
    """The logger, opened, or None where results.json is all; closed with how the evaluation ended.

    A logger that cannot be closed is told in a line: the numbers are in results.json.

    Args:
        config: a new run of the logger shows it.
        folder: where the logger writes.
        run: the folder of the run whose checkpoint is evaluated, if there is one; what was trained with the same
            logger is continued there.
        progress: is told where the numbers can be seen.

    Raises:
        ValueError: if the logger cannot be reached.
    """
    place = Place(folder=folder, config=asdict(config), say=progress.say, job="eval", of_run=run)
    recorder = config.logger.open(place)
    status = "failed"
    try:
        yield recorder
        status = "finished"
    except (KeyboardInterrupt, SystemExit):
        status = "stopped"
        raise
    finally:
        if recorder is not None:
            _or_say(lambda: recorder.close(status), config.logger.kind, progress)


def log_results(recorder: Recorder, results: dict[str, Any], *, epoch: int, kind: str, progress: Progress) -> None:
    """Log the numbers among results.json's values; a logger that fails is told in a line.

    Args:
        epoch: epochs that the evaluated network was trained; the x axis.
        kind: the logger's.
    """
    numbers = {f"eval/{name}": float(value) for name, value in results.items() if isinstance(value, int | float)}
    _or_say(lambda: recorder.summary(numbers, epoch), kind, progress)


def _or_say(work: Callable[[], None], kind: str, progress: Progress) -> None:
    try:
        work()
    except Exception as error:  # a server, its disk: whatever it is, what was measured is on our disk
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        progress.say(f"{kind:10} failed ({told}); results.json has the numbers")
