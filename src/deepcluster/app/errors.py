"""What an error says to the person who typed the command: one line with the key, its value and the way out."""

import difflib
import errno
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from deepcluster.system import distributed
from deepcluster.system.first_failure import ProcessLost


class JobFailed(Exception):
    """A job of a sweep has failed, and its error was told."""


def user_errors() -> tuple[type[Exception], ...]:
    """What a person can set right; everything else is a fault of ours and keeps its traceback."""
    lightning = sys.modules.get("lightning_fabric.utilities.exceptions")  # not loaded: it has raised nothing
    of_lightning = () if lightning is None else (lightning.MisconfigurationException,)
    return (ValueError, OSError, ImportError, HydraException, OmegaConfBaseException, ProcessLost, *of_lightning)


def is_disk_full(error: BaseException) -> bool:
    """Whether a file could not be written for want of room: a full disk, a quota, a limit of the file's size."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refuse(error: BaseException, head: str = "") -> NoReturn:
    """End with one line on stderr and exit status 1.

    Args:
        head: what the line says before the error.
    """
    print(f"\nerror: {head}{sentence(error)}", file=sys.stderr)
    raise SystemExit(1) from None


def refuse_on_all(error: BaseException, head: str = "") -> NoReturn:
    """The same where every process finds the error: the first tells it, all end."""
    if not distributed.is_main_process():
        time.sleep(3)  # torchrun ends all processes when one has ended, and the first must have spoken before
        raise SystemExit(1)
    refuse(error, head)


def write_traceback(error: BaseException, folder: Path) -> str:
    """Keep the traceback in the folder; returns the line that says where."""
    file = folder / "error.log"
    try:
        with file.open("a") as stream:
            traceback.print_exception(error, file=stream)
    except OSError:  # a full disk: the line on the terminal must do
        return ""
    return f"(traceback: {file})"


def sentence(error: BaseException) -> str:
    """What an error says: the key and the way out, without Python's, Hydra's and OmegaConf's decoration."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        known = ", ".join(error.options)
        return f"{group}={option}: configs/{group} has no such option; it has {known}" + _did_you_mean(
            option, error.options
        )
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(error)
    if isinstance(error, OverrideParseException):
        reason = str(cause or str(error).splitlines()[0])
        quoted = "'KEY=\"VALUE\"'"
        advice = f"put quotes, as in {quoted}, where a value has spaces, brackets or accents"
        return f"{error.override} cannot be read ({reason}); {advice}"
    if isinstance(error, ValidationError) and error.full_key:
        return f"{error.full_key}: {str(error.msg).splitlines()[0]}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        if isinstance(cause, Exception):
            return sentence(cause)
        if isinstance(error.__context__, ConfigKeyError | ConfigAttributeError):  # a file's, which Hydra names
            return _unknown_key_of_file(str(error).partition(":")[0], error.__context__)
        lines = [line.strip() for line in str(error).splitlines()]
        joined = "; ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type", "See ")))
        return joined.removeprefix("ValueError raised while resolving interpolation: ")  # of our own resolvers
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} [{error.filename}]" if error.filename else str(error.strerror)
    return str(error)


def _unknown_key(error: OmegaConfBaseException) -> str:
    """A key that does not exist, and the one that may have been meant."""
    key, parent = str(error.full_key), error.parent_node
    group, _, name = key.rpartition(".")
    known = [str(k) for k in parent if k != "hydra"] if isinstance(parent, DictConfig) else []
    absent = getattr(OmegaConf.get_type(parent), "ABSENT", {}) if isinstance(parent, DictConfig) else {}
    if name in absent:
        return f"there is no key {key}: {absent[name]}"
    meant = _did_you_mean(name, known, f"{group}." if group else "")
    if not meant and isinstance(parent, DictConfig) and "_target_" in parent:
        return f"there is no key {key} yet; +{key}=VALUE gives it to {parent['_target_']}"
    return f"there is no key {key}" + (meant or f"; {group or 'the config'} has {', '.join(known)}")


def _unknown_key_of_file(where: str, error: OmegaConfBaseException) -> str:
    """The same where a config file sets it; Hydra merges files before any override, so none can take it back.

    Args:
        where: Hydra's "In 'GROUP/NAME'".
    """
    file = where.partition("'")[2].rstrip("'")
    group, _, name = file.rpartition("/")
    key, way_out = str(error.full_key), ""
    if group and key.rpartition(".")[2] in getattr(OmegaConf.get_type(error.parent_node), "ABSENT", {}):
        way_out = f". To combine them copy configs/{file}.yaml without {key} and choose the copy: {group}={name}_copy"
    return f"{where}: {_unknown_key(error)}{way_out}"


def _did_you_mean(name: str, known: Sequence[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""
