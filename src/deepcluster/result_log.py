"""An evaluation's numbers to the logger, as eval/NAME: evaluate.py opens it before the work and logs after it."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger

from deepcluster.config import load
from deepcluster.targets import build
from deepcluster.training.progress import Progress
from deepcluster.training.wandb_log import wandb_of_evaluation


def open_logger(
    settings: dict[str, Any], config: Any, folder: Path, run: Path | None, progress: Progress
) -> Logger | None:
    """The group's logger, or None where results.json is all.

    Args:
        settings: the group `logger`; {} of logger=csv.
        config: of the evaluation; a new run of Weights & Biases shows it.
        folder: where the logger writes.
        run: the folder of the run whose checkpoint is evaluated, if there is one.
        progress: is told where the numbers can be seen.

    Raises:
        ImportError: if the logger's library is not installed.
    """
    if not settings:
        return None
    if not settings["_target_"].endswith("WandbLogger"):
        logger: Logger = build(settings, "logger", save_dir=str(folder))
        return logger
    if run is not None:
        of_run = load(run / "config.yaml").logger
        settings = {**settings, **{key: of_run[key] for key in ("project", "entity") if of_run.get(key) is not None}}
    of_wandb: Logger = wandb_of_evaluation(settings, config, folder, run, progress)
    return of_wandb


def log_results(logger: Logger, results: dict[str, Any], *, epoch: int) -> None:
    """Log the numbers among results.json's values.

    Weights & Biases takes them as the run's summary: they belong to the finished network, and rows that a second
    process adds to a run's history would have to continue the first one's steps.

    Args:
        epoch: epochs that the evaluated network was trained; the step.
    """
    numbers = {f"eval/{name}": float(value) for name, value in results.items() if isinstance(value, int | float)}
    if isinstance(logger, WandbLogger):
        logger.experiment.summary.update(numbers)
    else:
        logger.log_metrics(numbers, step=epoch)
    logger.finalize("success")
