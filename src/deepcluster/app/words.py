"""What is typed after a short word of the command, `deepcluster sort RUN OUT do=true`, as settings of train or eval.

Next: program.py runs the job with them. The words stand in system/words.py.
"""

import difflib
import os
import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from deepcluster.app.config_folder import configs
from deepcluster.app.evaluation_list import kind_of
from deepcluster.app.mistyped import is_flag, keys_of, parts_of
from deepcluster.settings.eval import EvalConfig
from deepcluster.settings.options import EVAL_OPTIONS
from deepcluster.settings.train import TrainConfig
from deepcluster.settings.unknown_keys import did_you_mean
from deepcluster.system.quoting import override
from deepcluster.system.words import WORDS, Place, Word
from deepcluster.weights.files import EXPORTED

WIDTH = 110
_SETTING = re.compile(r"[+~]{0,2}[\w./@]+=.*|~[\w.]+", re.DOTALL)


@dataclass(kw_only=True)
class _Typed:
    """What follows a short word: values of its places, settings, flags with their values."""

    word: str
    values: list[str]
    settings: list[str]
    flags: list[str]

    @property
    def meaning(self) -> Word:
        return WORDS[self.word]

    @property
    def usage(self) -> str:
        return f"deepcluster {self.word} {self.meaning.usage}"

    @property
    def placed(self) -> list[tuple[Place, str]]:
        return list(zip(self.meaning.places, self.values, strict=False))


def settings_for_word(word: str, typed: list[str]) -> list[str]:
    """The settings that a short word and what follows it stand for.

    Args:
        word: one of `WORDS`.
        typed: what follows it: its places in their order, with settings and flags anywhere. Keys of the evaluation may
            be typed without `evaluation.`

    Raises:
        ValueError: if a place is empty, a word is too many, or what stands at a place cannot be meant.
    """
    parts = _parts(word, typed)
    _check_number(parts)
    for place, value in parts.placed:
        _check_place(place, value, parts)
    made = [
        setting
        for place, value in parts.placed
        for setting in (*place.adds, override(place.key, os.path.expanduser(value)))
    ]
    return [*parts.flags, *parts.meaning.settings, *made, *(_with_group(setting, parts) for setting in parts.settings)]


def is_model(path: Path) -> bool:
    """Whether a folder is a run's or a bundle's."""
    return _is_run(path) or (path / EXPORTED).is_file()


def check_order(word: str, values: list[str], settings: list[str]) -> None:
    """Refuse pictures before the model, where both are given.

    Raises:
        ValueError: with the command that was meant.
    """
    first, *others = (Path(os.path.expanduser(value)) for value in values)
    if not first.is_file() and not is_model(first) and len(others) == 1 and is_model(others[0]):
        meant = shlex.join(["deepcluster", word, *reversed(values), *settings])
        raise ValueError(f"{values[0]} is no run; did you mean {meant}?")


def help_of(word: str) -> str:
    """What `deepcluster WORD --help` prints."""
    meaning = WORDS[word]
    start = f"deepcluster {word} {meaning.usage}"
    width = max((len(form) for form, _ in meaning.more), default=0)
    forms = [f"  ... {form:{width}}  {what}" for form, what in meaning.more]
    of_places = {place.key for place in meaning.places}
    own = [name for name in _keys_of_kind(meaning) if f"evaluation.{name}" not in of_places]
    follow = f"KEY=VALUE may follow: {', '.join(own)}; " if own else "KEY=VALUE may follow: "
    places = [" ".join([f"{place.key}={place.name}", *place.adds]) for place in meaning.places]
    return "\n".join(
        [
            f"{start}    {meaning.help}",
            *forms,
            "",
            *textwrap.wrap(f"{follow}and any of deepcluster {meaning.job}, whose --help lists them.", WIDTH),
            f"The same: deepcluster {meaning.job} {' '.join([*meaning.settings, *places])}",
        ]
    )


def _parts(word: str, typed: list[str]) -> _Typed:
    parts, rest = _Typed(word=word, values=[], settings=[], flags=[]), list(parts_of(typed))
    while rest:
        part = rest.pop(0)
        text = part[0]
        if is_flag(part):
            parts.flags += part
        elif text.startswith("-"):
            name, _, value = text.lstrip("-").partition("=")
            value = value or (rest[0][0] if rest and not rest[0][0].startswith("-") else "true")
            raise ValueError(f"{text}: settings are words KEY=VALUE; did you mean {name.replace('-', '_')}={value}?")
        elif _SETTING.fullmatch(text) and not os.path.exists(text):
            parts.settings.append(text)
        else:
            parts.values.append(text)
    return parts


def _check_number(parts: _Typed) -> None:
    """Refuse too many and too few words."""
    places, values = parts.meaning.places, parts.values
    if len(values) > len(places):
        surplus = values[len(places)]
        meant = _option_like(surplus, _keys_of_kind(parts.meaning))
        advice = f"did you mean {meant}?" if meant else f"{parts.usage} [KEY=VALUE ...]"
        raise ValueError(f"{surplus}: one word too many; {advice}")
    keys = keys_of(parts.settings)
    missing = [place.name for place in places[len(values) :] if place.needed and place.key not in keys]
    if missing:
        is_folder = not values and os.path.isdir(parts.word)
        folder = f"; for the images in the folder {parts.word}: deepcluster ./{parts.word}" if is_folder else ""
        raise ValueError(f"{parts.usage}: {' and '.join(missing)} {_is(missing)} missing{folder}")


def _check_place(place: Place, value: str, parts: _Typed) -> None:
    """Refuse what cannot be meant at a place, with what may be."""
    path = Path(os.path.expanduser(value))
    if place.name == "RUN":
        if path.is_file() or is_model(path):
            return
        check_order(parts.word, parts.values, parts.settings)
        what = "holds no run (no config.yaml)" if path.is_dir() else "does not exist"
        raise ValueError(f"{value} {what}{_run_like(path) or '; RUN is a folder of a run, as the run printed it'}")
    if place.name == "DIR" and (_is_run(path) or not path.is_dir()):
        what = "is a run's folder" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        raise ValueError(f"{value} {what}; {parts.usage}: DIR is a folder of images")


def _with_group(setting: str, parts: _Typed) -> str:
    """KEY=VALUE of the evaluation with `evaluation.` before it.

    Raises:
        ValueError: if there is no such key.
    """
    signs, key, value = re.fullmatch(r"([+~]*)([^=]+)(.*)", setting, re.DOTALL).groups()  # type: ignore[union-attr]
    own = _keys_of_kind(parts.meaning)
    if key in ("minutes", "effort"):
        instead = "; trainer.max_epochs=N makes it shorter or longer" if parts.meaning.job == "train" else ""
        raise ValueError(f"{setting} is for a new run, deepcluster DIR {setting}{instead}")
    if key in own:
        return f"{signs}evaluation.{key}{value}"
    of_job = [field.name for field in fields(EvalConfig if parts.meaning.job == "eval" else TrainConfig)]
    if "." in key or "/" in key or "@" in key or key in of_job or signs or not own:
        return setting
    advice = did_you_mean(key, [*own, *of_job]) or f"; it has {', '.join(own)}"
    raise ValueError(f"{setting}: deepcluster {parts.word} has no key {key}{advice}")


def _keys_of_kind(meaning: Word) -> Mapping[str, "Field[Any]"]:
    """The keys of the evaluation that the word names; none if it names none."""
    if meaning.option is None:
        return {}
    kind = EVAL_OPTIONS["evaluation"][kind_of(configs() / "evaluation" / f"{meaning.option}.yaml")]
    return {field.name: field for field in fields(kind) if field.name != "kind"}


def _option_like(text: str, keys: Mapping[str, "Field[Any]"]) -> str | None:
    """KEY=VALUE of a key with few values, one of which is like the text: mode=copy for "copies"; k=12 for "12"."""
    if text.isdecimal():
        return f"k={text}" if "k" in keys else None
    options = {str(o): key for key, field in keys.items() for o in field.metadata.get("one_of", ())}
    named = difflib.get_close_matches(text.lower(), [*options, *keys], n=1)
    return None if not named else f"{options[named[0]]}={named[0]}" if named[0] in options else f"{named[0]}=true"


def _run_like(path: Path) -> str:
    """A run of a similar name beside it, or of this name in runs/."""
    in_runs = Path("runs") / path.name
    if in_runs != path and _is_run(in_runs):
        return f"; did you mean {in_runs}?"
    beside = [folder.name for folder in path.parent.iterdir() if _is_run(folder)] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file()


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
