"""Errors for the user who typed the command: one line with the key, its value and the way out."""

import errno
import re
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from deepcluster.app.config_folder import options_of
from deepcluster.settings.callbacks import GROUP as CALLBACKS
from deepcluster.settings.unknown_keys import did_you_mean, explain_unknown_key
from deepcluster.system import distributed
from deepcluster.system.first_failure import ProcessLost

ERROR_LOG = "error.log"  # in a run's folder: the traceback of its failure


_AMBIGUOUS = re.compile(r"Ambiguous value for argument '([^=]+)=(.*)'$", re.MULTILINE)  # Hydra's


class JobFailed(Exception):
    """A job of a sweep has failed, and its error is printed already."""


def user_errors() -> tuple[type[Exception], ...]:
    """The classes of errors that a user can correct; everything else is a fault of ours and keeps its traceback."""
    lightning = sys.modules.get("lightning_fabric.utilities.exceptions")  # if it is not loaded, it has raised nothing
    of_lightning = () if lightning is None else (lightning.MisconfigurationException,)
    return (ValueError, OSError, ImportError, HydraException, OmegaConfBaseException, ProcessLost, *of_lightning)


def is_disk_full(error: BaseException) -> bool:
    """Whether a file could not be written because of a full disk, a quota or a limit of the file's size."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def exit_with_error(error: BaseException, prefix: str = "") -> NoReturn:
    """End the program with one line on stderr and exit status 1.

    Args:
        prefix: what the line says before the error.
    """
    print(f"\nerror: {prefix}{message_for_user(error)}", file=sys.stderr)
    raise SystemExit(1) from None


def exit_everywhere_with_error(error: BaseException, prefix: str = "") -> NoReturn:
    """End the program where every process has the same error: the first process prints it."""
    if not distributed.is_main_process():
        time.sleep(3)  # torchrun ends all processes when one has ended; the first must print before that
        raise SystemExit(1)
    exit_with_error(error, prefix)


def write_traceback(error: BaseException, folder: Path) -> str:
    """Append the traceback to error.log in the folder; returns a line that names the file."""
    file = folder / ERROR_LOG
    try:
        with file.open("a") as stream:
            traceback.print_exception(error, file=stream)
    except OSError:  # a full disk: the terminal has the error's line
        return ""
    return f"(traceback: {file})"


def message_for_user(error: BaseException) -> str:
    """The key, what is wrong and the way out, without what Python, Hydra and OmegaConf add around it."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        suggestion = _network(group, option) or did_you_mean(option, error.options)
        return f"{group}={option}: configs/{group} has no such option; it has {', '.join(error.options)}{suggestion}"
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(error)
    if isinstance(error, OverrideParseException):
        reason = str(cause or str(error).splitlines()[0])
        advice = """put quotes, as in 'KEY="VALUE"', where a value has spaces, brackets or accents"""
        return f"{error.override} cannot be read ({reason}); {advice}"
    if isinstance(error, ValidationError) and error.full_key and (known := _settings_below(error)):
        return f"{error.full_key} is no value but has settings of its own: {', '.join(known)}"
    if isinstance(error, ValidationError) and error.full_key:
        return f"{error.full_key}: {str(error.msg).splitlines()[0]}{_in_brackets(str(error.full_key), str(error.msg))}"
    if isinstance(error, HydraException) and (several := _AMBIGUOUS.search(str(error))):
        key, values = several[1].lstrip("+"), several[2]
        return f"{key}={values} are several values: put -m before them to run each, or brackets: '{key}=[{values}]'"
    if str(error).startswith("Config group override must be"):  # Hydra's, a ValueError
        return _group_without_option()
    if isinstance(error, HydraException | OmegaConfBaseException):
        if isinstance(cause, Exception):
            return message_for_user(cause)
        if isinstance(error.__context__, ConfigKeyError | ConfigAttributeError):  # in a file that Hydra names
            return _unknown_key_of_file(str(error).partition(":")[0], error.__context__)
        lines = [line.strip() for line in str(error).splitlines()]
        places = ("full_key:", "reference_type", "object_type", "See ")
        joined = "; ".join(line for line in lines if line and not line.startswith(places))
        return joined.removeprefix("ValueError raised while resolving interpolation: ")  # of our own resolvers
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} [{error.filename}]" if error.filename else str(error.strerror)
    return str(error)


def _settings_below(error: ValidationError) -> list[str]:
    """The keys that stand below a key which a single value was given to."""
    parent, key = error.parent_node, str(error.key)
    node = parent._get_node(key) if isinstance(parent, DictConfig) else None
    return [f"{error.full_key}.{name!s}" for name in node] if isinstance(node, DictConfig) else []


def _group_without_option() -> str:
    """Which word gives a group no option's name, such as clustering=true, and what the group has."""
    for word in sys.argv[1:]:
        group, _, value = word.lstrip("+").partition("=")
        if (options := options_of(group)) and value.lower() in ("", "true", "false", "null", "none"):
            return f"{word}: {group} takes one of its options: {', '.join(options)}"
    return "a group takes the name of one of its options"


def _network(group: str, option: str) -> str:
    """How to choose a network that is no option of its own, as the end of a sentence; empty if it is not known."""
    if group != "arch" or not re.fullmatch(r"(wide_)?resne[xt]t?\d+\w*", option):
        return ""
    return (
        f"; did you mean arch=resnet18 arch.name={option}? (any ResNet of torchvision; of timm: arch=timm arch.name=)"
    )


def _in_brackets(key: str, reason: str) -> str:
    """The way out where one value stands for a list, as the end of a sentence; empty for other reasons."""
    if "is not a ListConfig" not in reason:
        return ""
    typed = next((word.partition("=")[2] for word in sys.argv[1:] if word.lstrip("+").startswith(f"{key}=")), "VALUE")
    return f" A list stands in brackets: '{key}=[{typed}]'"


def _unknown_key(error: OmegaConfBaseException) -> str:
    """Says that a key does not exist, and which one may have been meant."""
    key, parent = str(error.full_key), error.parent_node
    group = key.rpartition(".")[0]
    known = [str(k) for k in parent if k != "hydra"] if isinstance(parent, DictConfig) else []
    reason = explain_unknown_key(key, known, OmegaConf.get_type(parent) if isinstance(parent, DictConfig) else None)
    if key.startswith(f"{CALLBACKS}.") and not reason:
        return f"there is no key {key} yet; a plus adds it: +{key}=VALUE"
    if not reason and isinstance(parent, DictConfig) and "_target_" in parent:
        return f"there is no key {key} yet; +{key}=VALUE gives it to {parent['_target_']}"
    return f"there is no key {key}" + (reason or f"; {group or 'the config'} has {', '.join(known)}")


def _unknown_key_of_file(where: str, error: OmegaConfBaseException) -> str:
    """As `_unknown_key`, where a config file sets the key: Hydra merges files first, so no override can remove it.

    Args:
        where: how Hydra names the file: "In 'GROUP/NAME'".
    """
    file = where.partition("'")[2].rstrip("'")
    group, _, name = file.rpartition("/")
    key, way_out = str(error.full_key), ""
    if group and key.rpartition(".")[2] in getattr(OmegaConf.get_type(error.parent_node), "ABSENT", {}):
        way_out = f". To combine them copy configs/{file}.yaml without {key} and choose the copy: {group}={name}_copy"
    return f"{where}: {_unknown_key(error)}{way_out}"
