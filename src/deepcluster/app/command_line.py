"""From what was typed to a run: what Hydra must know before it, and what is told when it ends in an error.

Everything here, and what app/sweep/ imports at the top of its files, loads in a fraction of a second: torch and
Lightning come with the first run. Next: Hydra composes the config, sweep/check.py refuses what is not possible,
train_command.py or eval_command.py does the work.
"""

import os
import shlex
import signal
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from dotenv import load_dotenv
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from deepcluster.app import manual
from deepcluster.app.errors import JobFailed, is_disk_full, refuse, user_errors
from deepcluster.app.sweep.end import tell_open_sweep
from deepcluster.app.sweep.jobs import register_for_jobs
from deepcluster.app.sweep.words import left_to_jobs
from deepcluster.settings.eval import eval_schema
from deepcluster.settings.moved_keys import with_new_keys
from deepcluster.settings.options import EVAL_OPTIONS
from deepcluster.system.quoting import argument


def register() -> None:
    """Make the schemas and resolvers of the config files known to Hydra, and read .env; before ``hydra.main``."""
    load_dotenv(Path.cwd() / ".env")
    register_for_jobs()
    ConfigStore.instance().store(name="eval_schema", node=eval_schema())
    OmegaConf.register_new_resolver("evaluations", _evaluations, replace=True)  # of eval.py --help


def _evaluations(config_sources: Any) -> str:
    listed = manual.listed(manual.config_folder(config_sources) / "evaluation", EVAL_OPTIONS["evaluation"])
    return listed.replace("$", "$$")  # Hydra substitutes $NAME in its help


def start(main: Callable[[], Any]) -> None:
    """Call the `main` of train.py or eval.py; what the user typed wrong ends in one line, not in Hydra's pages."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    flags = [word for word in sys.argv[1:] if word in ("-m", "--multirun")]  # argparse takes none between overrides
    words, notes = with_new_keys([word for word in sys.argv[1:] if word not in flags])
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    sys.argv = [sys.argv[0], *flags, *(left_to_jobs(words) if flags else words)]
    command = list(sys.argv)
    try:
        main()
    except JobFailed:
        raise SystemExit(1) from None
    except KeyboardInterrupt:  # while the jobs of a sweep run in other processes, or before a run has begun
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenExecutor as error:
        refuse(RuntimeError(_killed(error)))
    except user_errors() as error:
        if wants_traceback:
            raise
        unnamed = is_disk_full(error) and getattr(error, "filename", None) is None  # Hydra's own files
        refuse(error, "the run's folder, or Hydra's .hydra/ in it, could not be written: " if unnamed else "")
    except AssertionError as error:  # OmegaConf's, for a key under a group that is null, such as eval.py's data
        if wants_traceback or "Unexpected type for root" not in str(error):
            raise
        keys = [override.partition("=")[0].lstrip("+") for override in command[1:]]
        key = next((name for name in keys if "." in name), "GROUP.KEY")
        group = key.partition(".")[0]
        refuse(ValueError(f"{key}: the group {group} is null here; choose it too, as in {group}=OPTION {key}=VALUE"))
    finally:
        tell_open_sweep(how_to_go_on=lambda sweep: _same_command(command, sweep))


def _killed(error: BrokenExecutor) -> str:
    how = "by the system, as when memory runs out" if "SIGKILL" in str(error) else "see above"
    return f"a process that ran jobs was killed ({how}); lower hydra.launcher.n_jobs=N to run fewer jobs at once"


def _same_command(command: list[str], sweep: Path) -> str:
    """The command that goes on with a sweep: what was typed, and the sweep's folder."""
    words = [word for word in command[1:] if not word.startswith("output_dir=")]
    return f"python {shlex.join([Path(command[0]).name, *words])} {argument('output_dir', sweep)}"
