"""Paths are taken as they are typed: Hydra's grammar would refuse or change many of them. command_line.py calls it."""

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

from deepcluster.settings.eval import EvalConfig
from deepcluster.settings.key_places import path_keys
from deepcluster.settings.train import TrainConfig
from deepcluster.system.quoting import override

_OVERRIDE = re.compile(r"(\+{0,2})([\w.]+)=(.+)", re.DOTALL)
_LEFT_TO_HYDRA = re.compile(r"""\s*(["'].*["']|\$\{.*\}.*|null|\?\?\?)\s*""", re.DOTALL)


def with_quoted_paths(words: list[str], *, is_sweep: bool) -> list[str]:
    """The words of a command line, with paths that Hydra would read otherwise in its quotes.

    Args:
        is_sweep: `data.root=a,b` are two values then, as it is without quotes for every key.
    """
    parser = OverridesParser.create()
    return [_with_quoted_path(word, parser, is_sweep) for word in words]


def _with_quoted_path(word: str, parser: OverridesParser, is_sweep: bool) -> str:
    parts = _OVERRIDE.fullmatch(word)
    if parts is None or parts[2] not in (*path_keys(TrainConfig), *path_keys(EvalConfig)):
        return word
    parsed = _parsed(word, parser)
    if parsed is not None and (_LEFT_TO_HYDRA.fullmatch(parts[3]) or (is_sweep and parsed.is_sweep_override())):
        return word
    if parsed is not None and not parsed.is_sweep_override():
        value = parsed.value()
        if not isinstance(value, QuotedString) and isinstance(value, str) and value == parts[3]:
            return word
    return override(parts[1] + parts[2], parts[3])


def _parsed(word: str, parser: OverridesParser) -> Override | None:
    """What Hydra reads; None if it cannot."""
    try:
        return parser.parse_override(word)
    except HydraException:
        return None
