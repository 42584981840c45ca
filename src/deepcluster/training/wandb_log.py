"""Weights & Biases: online with a key, offline without, and a resumed run continues the same one."""

import dataclasses
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from deepcluster.atomic import write_atomically
from deepcluster.training.progress import Progress

ID = "wandb_id"  # the file in a run's folder that keeps its id


def wandb_logger(settings: dict[str, Any], config: Any, folder: Path, progress: Progress) -> Any:
    """Lightning's WandbLogger for this run.

    Args:
        settings: the group's values: project, name, tags, offline (None: decided by the key) and so on.
        config: the run's whole config, which is logged.
        folder: the run's folder; its id is kept there.
        progress: says in one line where the run can be seen.
    """
    return _open(settings, folder, _id(folder), config, progress)


def wandb_of_evaluation(
    settings: dict[str, Any], config: Any, folder: Path, run: Path | None, progress: Progress
) -> Any:
    """The same for an evaluation: it continues the run whose checkpoint it evaluates, if that was logged here.

    Args:
        config: the evaluation's config, logged where the evaluation is a run of its own, of job_type "eval".
        folder: the evaluation's; wandb writes there.
        run: the folder of the run that the checkpoint comes from, or None.
    """
    if run is None or not (run / ID).is_file():
        return _open({"job_type": "eval", **settings}, folder, _id(folder), config, progress)
    run_id = (run / ID).read_text()
    progress.say(f"wandb      continues run {run_id} of {run}")
    own = {name: value for name, value in settings.items() if name in ("project", "entity", "offline")}
    return _open(own, folder, run_id, None, progress)


def _id(folder: Path) -> str:
    """The folder's own wandb id, now and whenever it is asked for again."""
    file = folder / ID
    if not file.is_file():
        write_atomically(file, uuid.uuid4().hex[:12].encode())
    return file.read_text()


def _open(settings: dict[str, Any], folder: Path, run_id: str, config: Any, progress: Progress) -> Any:
    from pytorch_lightning.loggers import WandbLogger

    values = {name: value for name, value in settings.items() if not name.startswith("_")}
    if values.get("offline") is None:
        values["offline"] = not os.environ.get("WANDB_API_KEY")
    logger = WandbLogger(save_dir=str(folder), id=run_id, resume="allow", **values)
    if config is not None:
        logger.log_hyperparams(dataclasses.asdict(config))
    if values["offline"]:
        progress.say(f"wandb      offline (no WANDB_API_KEY); later: wandb sync {folder}/wandb/offline-run-*")
    else:
        progress.say(f"wandb      online, project {values.get('project')}")
    return logger


def finish(*, failed: bool) -> None:
    """End this process's wandb run, if there is one, so that the next job of a sweep begins its own."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))
