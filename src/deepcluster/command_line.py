"""Between Hydra and run.py: from overrides to settings, clear errors, sweeps checked before their first job."""

import itertools
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed
from dotenv import load_dotenv
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from deepcluster import config, run
from deepcluster.evaluate import EvalConfig
from deepcluster.evaluate import evaluate as measure

log = logging.getLogger(__name__)

# What a person can set right; everything else is a fault of ours and keeps its traceback.
USER_ERRORS = (ValueError, OSError, ImportError)


def register() -> None:
    """Before ``hydra.main``: the schema, the resolvers, and .env."""
    load_dotenv(Path.cwd() / ".env")
    config.register()
    ConfigStore.instance().store(name="eval_schema", node=EvalConfig)


def train(cfg: DictConfig) -> float | None:
    """One run of train.py. In a sweep a failure is raised, in a single run it is one line and exit status 1."""
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    try:
        if cfg.resume is not None:
            cfg = config.resumed(cfg, overrides)
        with _own_process_group(overrides, folder):
            summary = run.train(config.settings(cfg), folder)
    except USER_ERRORS as error:
        if hydra_cfg.mode == RunMode.MULTIRUN:
            raise
        stop(error, folder)
    accuracy = summary["trained"]["knn_accuracy"] if summary else None
    return None if accuracy is None else float(accuracy)


def evaluate(cfg: DictConfig) -> None:
    """One run of eval.py."""
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    try:
        settings = OmegaConf.to_object(cfg)
        assert isinstance(settings, EvalConfig)
        measure(settings, folder)
    except (*USER_ERRORS, OmegaConfBaseException) as error:
        if hydra_cfg.mode == RunMode.MULTIRUN:
            raise
        stop(error, folder)


def stop(error: BaseException, folder: Path) -> None:
    """End with one line on stderr; the traceback goes to the log file in `folder`."""
    log.debug("traceback", exc_info=error)
    with (folder / "error.log").open("a") as file:
        import traceback

        traceback.print_exception(error, file=file)
    print(f"\nerror: {message(error)}", file=sys.stderr)
    print(f"(traceback: {folder / 'error.log'})", file=sys.stderr)
    raise SystemExit(1)


def message(error: BaseException) -> str:
    """What an error says, without Python's decoration of OSErrors."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} [{error.filename}]" if error.filename else str(error.strerror)
    return str(error)


class CheckSweep(Callback):
    """Refuses a sweep before its first job when any of its jobs has a key or a value that is not possible."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Compose every job's config and turn it into settings."""
        sweep = list(config.hydra.overrides.task)
        if not GlobalHydra.instance().is_initialized():
            return
        for job in expand(sweep):
            try:
                check(job, config.hydra.job.config_name)
            except Exception as error:
                text = str(error.__cause__ or error).splitlines()[0]
                print(
                    f"\nerror: no job was started, because {' '.join(job)} is refused: {text}",
                    file=sys.stderr,
                )
                raise SystemExit(1) from None


def expand(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep: the product of all values, as Hydra's basic sweeper does."""
    choices = []
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            assert override.input_line is not None
            choices.append([override.input_line])
    return [list(job) for job in itertools.product(*choices)]


def check(overrides: list[str], config_name: str) -> None:
    """Compose one job and build its settings.

    Raises:
        Exception: whatever Hydra, OmegaConf or the settings refuse.
    """
    cfg = compose(config_name, overrides=overrides)
    with open_dict(cfg):
        cfg.pop("hydra", None)
    if config_name == "train":
        config.settings(cfg)
    else:
        OmegaConf.to_object(cfg)


@contextmanager
def _own_process_group(overrides: list[str], folder: Path) -> Iterator[None]:
    """Let Lightning's child processes repeat this job and not the whole sweep, and leave nothing to the next job.

    Lightning starts the others of a DDP run with this process's ``sys.argv`` (ECOSYSTEM.md, Hydra).
    """
    argv, was_child = sys.argv, "LOCAL_RANK" in os.environ
    sys.argv = [argv[0], *overrides, f"hydra.run.dir={str(folder)!r}", "hydra.output_subdir=null"]
    try:
        yield
    finally:
        sys.argv = argv
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        if not was_child:
            for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
                os.environ.pop(name, None)
