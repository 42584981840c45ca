"""What the user is told of a key that does not exist: where it exists, or which key may have been meant."""

import difflib
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

from deepcluster.settings.key_places import places_of
from deepcluster.settings.moved_keys import MOVED
from deepcluster.settings.options import EVAL_OPTIONS, OPTIONS


def explain_unknown_key(key: str, known: Sequence[str], schema: Any) -> str:
    """Why there is no such key, and the way out; empty if neither is known.

    Args:
        key: its full name.
        known: the keys that its group has.
        schema: the group's class of settings, or any other type.
    """
    group, _, name = key.rpartition(".")
    absent = getattr(schema, "ABSENT", {})
    if name in absent:
        return f": {absent[name]}"
    others = kinds_that_have(name, group, schema)
    if others:
        return f" here: it is for {' and '.join(f'{group}={kind}' for kind in others)}"
    if not group and is_dataclass(schema) and (places := places_of(name, schema)):
        return f"; did you mean {' or '.join(places)}?"
    return did_you_mean(name, known, f"{group}." if group else "") or _did_you_mean_new_key(key)


def kinds_that_have(name: str, group: str, schema: Any) -> list[str]:
    """The other kinds of the group that have a key of this name, if the class is that of one of its kinds."""
    kinds = next((kinds[group] for kinds in (OPTIONS, EVAL_OPTIONS) if schema in kinds.get(group, {}).values()), {})
    return [kind for kind, other in kinds.items() if name in getattr(other, "__dataclass_fields__", {})]


def did_you_mean(name: str, known: Sequence[str], prefix: str = "") -> str:
    """The known names that begin so, or the one that is most like it, as the end of a sentence; empty if none is."""
    begin_so = [word for word in known if word.startswith(name)] if len(name) > 2 else []
    in_small_letters = {word.lower(): word for word in known}
    close = [in_small_letters[word] for word in difflib.get_close_matches(name.lower(), in_small_letters, n=1)]
    meant = begin_so if len(begin_so) > 1 else close
    return f"; did you mean {' or '.join(prefix + word for word in meant)}?" if meant else ""


def _did_you_mean_new_key(key: str) -> str:
    close = difflib.get_close_matches(key, MOVED, n=1, cutoff=0.8)
    return f"; did you mean {MOVED[close[0]]}?" if close else ""
