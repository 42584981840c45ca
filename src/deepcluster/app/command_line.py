"""Between Hydra and run.py: from overrides to settings, clear errors, and how to go on after a stop.

sweep_check.py refuses what is not possible before the first job; sweep_end.py tells a sweep's end.
"""

import errno
import json
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed
from dotenv import load_dotenv
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from deepcluster.app import manual
from deepcluster.app.errors import refuse, sentence, write_traceback
from deepcluster.app.sweep import end as sweep_end
from deepcluster.app.sweep import jobs as sweep_jobs
from deepcluster.app.sweep.words import left_to_jobs
from deepcluster.data.loader import worker_died
from deepcluster.run import evaluate, resuming
from deepcluster.run import train as run
from deepcluster.settings import eval as eval_config
from deepcluster.settings import train as config
from deepcluster.settings.eval import eval_settings
from deepcluster.settings.options import EVAL_OPTIONS
from deepcluster.settings.resume import train_settings
from deepcluster.system import distributed
from deepcluster.system.atomic import held
from deepcluster.system.first_failure import FailedElsewhere, FirstFailure, ProcessLost
from deepcluster.system.quoting import argument
from deepcluster.tracking.logger import Logger

# What a person can set right; everything else is a fault of ours and keeps its traceback.
USER_ERRORS = (ValueError, OSError, ImportError, MisconfigurationException, ProcessLost)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JobFailed(Exception):
    """A job of a sweep has failed, and its error was told."""


def register() -> None:
    """Before ``hydra.main``: the schema, the resolvers, and .env."""
    load_dotenv(Path.cwd() / ".env")
    sweep_jobs.register()
    ConfigStore.instance().store(name="eval_schema", node=eval_config.schema())
    OmegaConf.register_new_resolver("evaluations", _evaluations, replace=True)  # of eval.py --help


def _evaluations(config_sources: Any) -> str:
    listed = manual.listed(manual.config_folder(config_sources) / "evaluation", EVAL_OPTIONS["evaluation"])
    return listed.replace("$", "$$")  # Hydra substitutes $NAME in its help


def start(main: Callable[[], Any]) -> None:
    """Call an entry file's main; what the user typed wrong ends in one line, not in Hydra's pages."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    flags = [word for word in sys.argv[1:] if word in ("-m", "--multirun")]  # argparse takes none between overrides
    words = [word for word in sys.argv[1:] if word not in flags]
    sys.argv = [sys.argv[0], *flags, *(left_to_jobs(words) if flags else words)]
    typed = list(sys.argv)
    try:
        main()
    except JobFailed:
        raise SystemExit(1) from None
    except KeyboardInterrupt:  # while the jobs of a sweep run in other processes
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenExecutor as error:
        refuse(RuntimeError(f"a process that ran jobs was killed ({_how_it_died(error)}); fewer at once need less"))
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
    finally:
        sweep_end.tell_open(how_to_go_on=lambda sweep: _same_command(typed, sweep))


def _how_it_died(error: BrokenExecutor) -> str:
    return "by the system, for want of memory" if "SIGKILL" in str(error) else "see above"


def _same_command(typed: list[str], sweep: Path) -> str:
    """What goes on with a sweep: what was typed, and the sweep's folder."""
    words = [word for word in typed[1:] if not word.startswith("output_dir=")]
    return f"python {shlex.join([Path(typed[0]).name, *words])} {argument('output_dir', sweep)}"


def train(cfg: DictConfig) -> float | None:
    """One run of train.py. In a sweep a failure is raised, in a single run it is one line and exit status 1.

    A job of a sweep that was done before, in the same folder, is not repeated; one that was stopped goes on.

    Returns:
        What a search maximises: the trained network's `objective`, None where it cannot be measured.
    """
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    in_sweep = hydra_cfg.mode == RunMode.MULTIRUN
    how_to_go_on = _nothing if in_sweep else _how_to_resume  # tell_open says it of the whole sweep
    first = FirstFailure(folder)
    with _told(folder, how_to_go_on), _held(folder), _own_process_group(overrides, folder), first.one_speaks():
        settings = train_settings(cfg, overrides)
        shared = None
        if in_sweep:
            shared = Path(hydra_cfg.sweep.dir) / sweep_jobs.SHARED
            if sweep_jobs.finished(folder, settings):
                print(f"sweep      job {hydra_cfg.job.num} was done before", flush=True)
                return _objective(json.loads((folder / "summary.json").read_text()), settings)
            if (folder / "config.yaml").is_file():  # of these settings, or sweep_jobs.job_folder had not chosen it
                settings.resume = str(folder)
                settings.extraction.store_dtype = config.load(folder / "config.yaml").extraction.store_dtype
        _call(settings.logger, folder)
        return _objective(run.train(settings, folder, follow=first.follow, shared=shared), settings)


def _objective(summary: dict[str, Any], settings: config.TrainConfig) -> float | None:
    value = summary["trained"][settings.objective] if summary else None
    return None if value is None else float(value)


def _nothing(_: Path) -> str:
    return ""


def measure(cfg: DictConfig) -> None:
    """One run of eval.py."""
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    if distributed.starter() is not None and distributed.n_started() > 1:
        refuse_on_all(
            ValueError(
                f"{distributed.starter()} has started {distributed.n_started()} processes, but eval.py is one: start "
                "it with python eval.py ..."
            )
        )
    whole = Path(hydra_cfg.sweep.dir) if hydra_cfg.mode == RunMode.MULTIRUN else folder
    with _told(folder, _nothing if whole != folder else _how_to_repeat):
        settings = eval_settings(cfg, list(hydra_cfg.overrides.task))
        _call(settings.logger, folder)
        evaluate.evaluate(settings, folder)


def _call(logger: Logger, folder: Path) -> None:
    """Name the run for its logger: by its folder, in a sweep by what differs among the jobs and the sweep's folder."""
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode != RunMode.MULTIRUN:
        logger.call(folder.resolve().name, None)
        return
    untold = (*hydra_cfg.job.config.override_dirname.exclude_keys, "logger")
    told = [word for word in hydra_cfg.overrides.task if word.partition("=")[0].partition(".")[0] != "logger"]
    told = [word for word in told if word.partition("=")[0] not in untold]
    logger.call(" ".join(told) or folder.resolve().name, Path(hydra_cfg.sweep.dir).resolve().name)


@contextmanager
def _told(folder: Path, how_to_go_on: Callable[[Path], str]) -> Iterator[None]:
    """Tell a failure in one line, keep its traceback in the folder; tell how to go on after Ctrl-C or SIGTERM."""
    number = distributed.rank_at_start()
    try:
        yield
    except FailedElsewhere as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise JobFailed(str(error)) from error
        raise SystemExit(_status_of_failure()) from None
    except Exception as raised:
        told = _for_the_user(raised)
        if told is None and number == 0:
            raise
        if told is None:
            traceback.print_exc()
            raise SystemExit(_status_of_failure()) from None
        where = write_traceback(raised, folder)
        if isinstance(told, OSError) and told.errno in NO_ROOM and "Make room" not in str(told):
            where = f"make room{how_to_go_on(folder)}\n{where}".rstrip()
        elif told is not raised:
            where = f"stopped{how_to_go_on(folder)}\n{where}".rstrip()
        print(f"\nerror: {f'process {number}: ' if number else ''}{sentence(told)}\n{where}", file=sys.stderr)
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # Hydra goes on with the next job and raises this at the end
            raise JobFailed(sentence(told)) from raised
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
    """The error as a person can act on it; None if the fault is ours, which keeps its traceback."""
    if isinstance(error, USER_ERRORS):
        return error
    return worker_died(error) if isinstance(error, RuntimeError) else None


def _status_of_failure() -> int:
    """1, but 0 of a process that Lightning has started.

    Until training/processes.py has sent its observer home, Lightning kills the first process, and with it a whole
    sweep, within 5 s after one of its children has ended with another status. The first process learns of the failure
    from first_failure.py and ends with 1.
    """
    return 0 if distributed.has_starter() and distributed.starter() is None else 1


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


def refuse_on_all(error: Exception, head: str = "") -> NoReturn:
    """What every process finds wrong is told by the first."""
    if not distributed.is_main_process():
        time.sleep(3)  # torchrun ends all when one has ended, and the first shall have spoken
        raise SystemExit(1)
    refuse(error, head)


def _held(folder: Path) -> AbstractContextManager[None]:
    """The run's folder is the main process's; the others of a DDP run write nothing."""
    return held(folder) if distributed.is_main_process() else nullcontext()


@contextmanager
def _own_process_group(overrides: list[str], folder: Path) -> Iterator[None]:
    """Let Lightning's child processes repeat this job and not the whole sweep, and leave nothing to the next job.

    Lightning starts the others of a DDP run with this process's ``sys.argv`` (ECOSYSTEM.md, Hydra).
    """
    argv, failed = sys.argv, True
    names = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    before = {name: os.environ.get(name) for name in names}
    one = ["hydra.mode=RUN", f"hydra.run.dir={str(folder)!r}", "hydra.output_subdir=null"]  # also of sweep=NAME
    sys.argv = [argv[0], *overrides, *one]
    try:
        yield
        failed = False
    finally:
        sys.argv = argv
        # After a failure the others may wait in it, and its end would wait for them: only a sweep goes on after that.
        ends = not failed or HydraConfig.get().mode == RunMode.MULTIRUN
        if ends and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
