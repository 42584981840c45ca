"""From the typed words to a run, and from an error to one line for the user.

This file, and what app/sweep/ imports at the top of its files, loads in a fraction of a second: torch and Lightning
are loaded by the first run. Next: Hydra composes the config, sweep/check.py refuses what is not possible, and
train_command.py or eval_command.py does the work.
"""

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from deepcluster.app.default_experiment import TOLD, default_experiment
from deepcluster.app.errors import JobFailed, exit_with_error, is_disk_full, user_errors
from deepcluster.app.mistyped import check_words, flags_first
from deepcluster.app.sweep.end import report_open_sweep
from deepcluster.app.sweep.overrides import sweep_keys_of_swept_groups
from deepcluster.app.typed_paths import with_quoted_paths
from deepcluster.settings.moved_keys import with_new_keys
from deepcluster.system import stop_signals, streams
from deepcluster.system.leftover import forget_leftover
from deepcluster.system.program import program
from deepcluster.system.quoting import argument, with_home

# Words that ask for an answer and start no run: where `| head` ends it, nothing is lost.
_ASKS = re.compile(r"-h|-c|-i|-sc|--(help|hydra-help|version|cfg|info|resolve|package|shell-completion)(=.*)?")


def start(main: Callable[[], Any], job: str) -> None:
    """Call the `main` of a job; an error of the user ends in one line instead of Hydra's pages.

    Args:
        job: "train" or "eval".
    """
    stop_signals.end_quietly()
    asks = any(_ASKS.fullmatch(word) for word in sys.argv[1:])
    if not asks:
        streams.make_lasting()
    try:
        check_words(sys.argv[1:], job)
        note = forget_leftover(is_alone=job == "eval")
    except ValueError as error:
        exit_with_error(error)
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    words, notes = with_new_keys([with_home(word) for word in flags_first(sys.argv[1:])])
    is_sweep = any(word in ("-m", "--multirun") for word in words)
    words = with_quoted_paths(words, is_sweep=is_sweep)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if is_sweep:
        words = sweep_keys_of_swept_groups(words)
    added = default_experiment(words) if job == "train" else []
    if added and not asks:
        print(TOLD, flush=True)
    sys.argv = [sys.argv[0], *words, *added]
    try:
        main()
        sys.stdout.flush()
    except JobFailed:
        raise SystemExit(1) from None
    except KeyboardInterrupt:  # while the jobs of a sweep run in other processes, or before a run has begun
        raise SystemExit(128 + (stop_signals.stopped_by() or signal.SIGINT)) from None
    except BrokenPipeError:  # the reader of our output has closed it, as in `python train.py --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes stdout once more at its end
        raise SystemExit(128 + signal.SIGPIPE) from None
    except BrokenExecutor as error:
        how = "by the system, as when memory runs out" if "SIGKILL" in str(error) else "see above"
        exit_with_error(
            RuntimeError(
                f"a process that ran jobs was killed ({how}); lower hydra.launcher.n_jobs=N to run fewer jobs at once"
            )
        )
    except user_errors() as error:
        if wants_traceback:
            raise
        unnamed = is_disk_full(error) and getattr(error, "filename", None) is None  # Hydra's own files
        prefix = "the run's folder, or Hydra's .hydra/ in it, could not be written: " if unnamed else ""
        exit_with_error(error, prefix)
    except AssertionError as error:  # OmegaConf's, for a key of a group that is null, such as eval.py's data
        if wants_traceback or "Unexpected type for root" not in str(error):
            raise
        keys = [override.partition("=")[0].lstrip("+") for override in words]
        key = next((name for name in keys if "." in name), "GROUP.KEY")
        group = key.partition(".")[0]
        exit_with_error(
            ValueError(f"{key}: the group {group} is null here; choose it too, as in {group}=OPTION {key}=VALUE")
        )
    finally:
        report_open_sweep(how_to_go_on=lambda sweep: _same_command(job, words, sweep))


def _same_command(job: str, words: list[str], sweep: Path) -> str:
    """The typed command with the sweep's folder: it goes on with the sweep."""
    kept = [word for word in words if not word.startswith("output_dir=")]
    return f"{program(job)} {shlex.join(kept)} {argument('output_dir', sweep)}"
