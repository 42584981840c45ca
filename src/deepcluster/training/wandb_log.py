"""Weights & Biases: online with a key, offline without, and a resumed run continues the same one."""

import dataclasses
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from deepcluster.atomic import write_atomically
from deepcluster.training.progress import Progress


def wandb_logger(settings: dict[str, Any], config: Any, folder: Path, progress: Progress) -> Any:
    """Lightning's WandbLogger for this run.

    Args:
        settings: the group's values: project, name, tags, offline (None: decided by the key) and so on.
        config: the run's whole config, which is logged.
        folder: the run's folder; its id is kept there.
        progress: says in one line where the run can be seen.
    """
    from pytorch_lightning.loggers import WandbLogger

    values = {name: value for name, value in settings.items() if not name.startswith("_")}
    if values.get("offline") is None:
        values["offline"] = not os.environ.get("WANDB_API_KEY")
    id_file = folder / "wandb_id"
    if not id_file.is_file():
        write_atomically(id_file, uuid.uuid4().hex[:12].encode())
    logger = WandbLogger(save_dir=str(folder), id=id_file.read_text(), resume="allow", **values)
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
