"""Between Hydra and run.py: from overrides to settings, clear errors, sweeps checked before their first job."""

import copy
import errno
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch.distributed
from dotenv import load_dotenv
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from deepcluster import config, distributed, eval_config, evaluate, manual, resuming, run
from deepcluster.atomic import held
from deepcluster.data.loader import worker_died
from deepcluster.errors import refuse, sentence, write_traceback
from deepcluster.eval_config import EvalConfig
from deepcluster.summary import argument
from deepcluster.training import wandb_log

# What a person can set right; everything else is a fault of ours and keeps its traceback.
USER_ERRORS = (ValueError, OSError, ImportError, MisconfigurationException)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JobFailed(Exception):
    """A job of a sweep has failed, and its error was told."""


def register() -> None:
    """Before ``hydra.main``: the schema, the resolvers, and .env."""
    load_dotenv(Path.cwd() / ".env")
    config.register()
    ConfigStore.instance().store(name="eval_schema", node=eval_config.schema())
    OmegaConf.register_new_resolver("evaluations", _evaluations, replace=True)  # of eval.py --help


def _evaluations(config_sources: Any) -> str:
    listed = manual.listed(manual.config_folder(config_sources) / "evaluation", config.EVAL_OPTIONS["evaluation"])
    return listed.replace("$", "$$")  # Hydra substitutes $NAME in its help


def start(main: Callable[[], Any]) -> None:
    """Call an entry file's main; what the user typed wrong ends in one line, not in Hydra's pages."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    flags = [word for word in sys.argv[1:] if word in ("-m", "--multirun")]  # argparse takes none between overrides
    words = [word for word in sys.argv[1:] if word not in flags]
    sys.argv = [sys.argv[0], *flags, *(left_to_jobs(words) if flags else words)]
    try:
        main()
    except JobFailed:
        raise SystemExit(1) from None
    except (*USER_ERRORS, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        full = isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None
        refuse(error, "the run's folder, or Hydra's .hydra/ in it, could not be written: " if full else "")
    except AssertionError as error:  # OmegaConf's, for a key under a group that is null, such as eval.py's data
        if wants_traceback or "Unexpected type for root" not in str(error):
            raise
        typed = [override.partition("=")[0].lstrip("+") for override in sys.argv[1:]]
        key = next((name for name in typed if "." in name), "GROUP.KEY")
        group = key.partition(".")[0]
        refuse(ValueError(f"{key}: the group {group} is null here; choose it too, as in {group}=OPTION {key}=VALUE"))


def left_to_jobs(words: list[str]) -> list[str]:
    """The words of a sweep, with KEY=VALUE of a group that is swept as KEY=choice(VALUE), which means the same.

    Hydra composes a config before the jobs' without what is swept, and would look for the key of
    `evaluation=NAME1,NAME2 evaluation.KEY=VALUE` in the evaluation that is the default.
    """
    parser = OverridesParser.create()
    try:
        parsed = {word: parser.parse_override(word) for word in words if "=" in word and word[0] != "-"}
    except HydraException:  # Hydra tells it
        return words
    swept = {override.get_key_element() for override in parsed.values() if override.is_sweep_override()}

    def left(word: str) -> str:
        key, _, value = word.partition("=")
        override = parsed.get(word)
        if override is None or not value or override.is_sweep_override() or override.is_delete():
            return word
        group, dot, _ = override.get_key_element().lstrip("+").partition(".")
        return f"{key}=choice({value})" if dot and group in swept else word

    return [left(word) for word in words]


def train(cfg: DictConfig) -> float | None:
    """One run of train.py. In a sweep a failure is raised, in a single run it is one line and exit status 1."""
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    with _told(folder, _how_to_resume), _held(folder), _own_process_group(overrides, folder):
        summary = run.train(_train_settings(cfg, overrides), folder)
    accuracy = summary["trained"]["knn_accuracy"] if summary else None
    return None if accuracy is None else float(accuracy)


def measure(cfg: DictConfig) -> None:
    """One run of eval.py."""
    hydra_cfg = HydraConfig.get()
    folder, failed = Path(hydra_cfg.runtime.output_dir), True
    whole = Path(hydra_cfg.sweep.dir) if hydra_cfg.mode == RunMode.MULTIRUN else folder
    with _told(folder, lambda _: _how_to_repeat(whole)):
        try:
            evaluate.evaluate(_eval_settings(cfg, list(hydra_cfg.overrides.task)), folder)
            failed = False
        finally:
            wandb_log.finish(failed=failed)


def _train_settings(cfg: DictConfig, overrides: list[str]) -> config.TrainConfig:
    return config.settings(cfg if cfg.resume is None else config.resumed(cfg, overrides))


def _eval_settings(cfg: DictConfig, overrides: list[str]) -> EvalConfig:
    settings = config.typed(eval_config.with_images(cfg, overrides))
    assert isinstance(settings, EvalConfig)
    config.check_kinds(settings, config.EVAL_OPTIONS)
    config.check_logger(settings.logger)
    if settings.init is not None:
        config.check_kinds(settings, {"init": config.OPTIONS["init"]})
    eval_config.check_chosen(settings, overrides)
    return settings


@contextmanager
def _told(folder: Path, how_to_go_on: Callable[[Path], str]) -> Iterator[None]:
    """Tell a failure in one line, keep its traceback in the folder; tell how to go on after Ctrl-C or SIGTERM."""
    try:
        yield
    except USER_ERRORS as error:
        where = write_traceback(error, folder)
        if isinstance(error, OSError) and error.errno in NO_ROOM and "Make room" not in str(error):
            where = f"make room{how_to_go_on(folder)}\n{where}".rstrip()
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # Hydra goes on with the next job and raises this at the end
            print(f"\nerror: {sentence(error)}\n{where}", file=sys.stderr)
            raise JobFailed(sentence(error)) from error
        refuse(error, note=where)
    except RuntimeError as error:
        died = worker_died(error)
        if died is None:
            raise
        write_traceback(error, folder)
        refuse(died, note=f"stopped{how_to_go_on(folder)}")
    except (KeyboardInterrupt, SystemExit) as stopped:  # Lightning turns the one into the other
        by_hand = isinstance(stopped, KeyboardInterrupt) or isinstance(stopped.__context__, KeyboardInterrupt)
        if not by_hand and not isinstance(stopped, SIGTERMException):
            raise
        print(f"\nstopped{how_to_go_on(folder)}", file=sys.stderr)
        # 128 + the signal's number, as shells have it; Lightning's SIGTERMException would end with 0
        raise SystemExit(128 + (signal.SIGINT if by_hand else signal.SIGTERM)) from None


def _how_to_resume(folder: Path) -> str:
    """Of train.py."""
    resume = f"python train.py {argument('resume', folder)}"
    if resuming.checkpoints(folder):
        return f"; continue with: {resume}"
    begun = (folder / "config.yaml").is_file()
    return ", before its first checkpoint" + (f"; begin again with: {resume}" if begun else "")


def _how_to_repeat(folder: Path) -> str:
    """Of eval.py, whose long evaluations keep what is done."""
    return f"; the same command with {argument('output_dir', folder)} uses what is done there, as far as it was kept"


class CheckConfig(Callback):
    """Refuses keys and values that are not possible before there is a folder, and a sweep before its first job."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Turn the one job's config into settings."""
        try:
            _check(config, list(config.hydra.overrides.task), config.hydra.job.config_name)
        except Exception as error:  # Hydra would only warn of it and go on
            refuse(error)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Compose every job's config and turn it into settings."""
        job: list[str] = []
        try:
            for job in expand(list(config.hydra.overrides.task)):
                if any(override.startswith("resume=") for override in job):
                    raise ValueError("resume= continues one run in its folder; leave out -m")
                name = config.hydra.job.config_name
                _check(compose(name, overrides=job, return_hydra_config=True), job, name)
        except Exception as error:
            refuse(error, "no job was started: " + (f"{' '.join(job)}: " if job else ""))


def expand(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep: the product of all values, as Hydra's basic sweeper takes it."""
    hydra = GlobalHydra.instance().hydra
    choices: dict[str, list[str]] = {}  # of a key that is given twice the later values count
    for override in OverridesParser.create(hydra.config_loader if hydra else None).parse_overrides(overrides):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ValueError(f"{override.input_line}: this sweeper has no intervals; list the values, as in {key}=1,2")
    return [list(job) for job in itertools.product(*choices.values())]


def _check(cfg: DictConfig, overrides: list[str], config_name: str) -> None:
    """Build one job's settings.

    Raises:
        Exception: whatever Hydra, OmegaConf or the settings refuse.
    """
    job = copy.copy(cfg)
    with open_dict(job):
        job.pop("hydra", None)
    if config_name == "train":
        if job.resume is not None:
            config.run_folder(job.resume, None, "")
        _train_settings(job, overrides)
    else:
        _eval_settings(job, overrides)


def _held(folder: Path) -> AbstractContextManager[None]:
    """The run's folder is the main process's; the others of a DDP run write nothing."""
    return held(folder) if distributed.is_main_process() else nullcontext()


@contextmanager
def _own_process_group(overrides: list[str], folder: Path) -> Iterator[None]:
    """Let Lightning's child processes repeat this job and not the whole sweep, and leave nothing to the next job.

    Lightning starts the others of a DDP run with this process's ``sys.argv`` (ECOSYSTEM.md, Hydra).
    """
    argv, was_child, failed = sys.argv, "LOCAL_RANK" in os.environ, True
    sys.argv = [argv[0], *overrides, f"hydra.run.dir={str(folder)!r}", "hydra.output_subdir=null"]
    try:
        yield
        failed = False
    finally:
        sys.argv = argv
        wandb_log.finish(failed=failed)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        if not was_child:
            for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
                os.environ.pop(name, None)
