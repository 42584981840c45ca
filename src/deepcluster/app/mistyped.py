"""Words that are no settings, answered by the command that was meant: a bare folder, `--data folder`, `-k 50`.

command_line.py asks before Hydra, whose answer to them is a page of usage.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from deepcluster.app.config_folder import groups_with
from deepcluster.settings.eval import EvalConfig
from deepcluster.settings.key_places import places_of
from deepcluster.settings.train import TrainConfig
from deepcluster.system.program import program
from deepcluster.system.quoting import override

CONFIG_FLAGS = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")
FLAGS_WITH_WORD = (*CONFIG_FLAGS, "--cfg", "-c", "--package", "-p", "--experimental-rerun")
FLAGS_ALONE = (
    *("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m"),
    *("--shell-completion", "-sc", "--info", "-i"),
)
NUMBERS = ("view.size", "clustering.k", "reduction.dim", "optimizer.lr", "trainer.max_epochs")
INFOS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")  # words that may follow --info


def check_words(words: list[str], job: str) -> None:
    """Refuse words that are neither KEY=VALUE nor a flag.

    Args:
        words: as they were typed.
        job: "train" or "eval".

    Raises:
        ValueError: with the command that was meant.
    """
    measured = next((word for word in words if word.startswith("evaluation=") and job == "train"), None)
    if measured is not None:
        raise ValueError(f"{measured} measures a finished run: {program('eval')} ckpt=RUN {measured}")
    meant, wrong = [], []
    for word, corrected in _corrected(words, job):
        meant += corrected
        if corrected != [word]:
            wrong.append(word)
    if wrong:
        if any(word.startswith("data.root=") for word in meant) and not {"data", "experiment"} & keys_of(meant):
            meant.insert(0, "experiment=photographs")
        raise ValueError(
            f"{shlex.join(wrong)}: settings are words KEY=VALUE; did you mean {program(job)} {shlex.join(meant)}?"
        )


def config_flags(words: list[str]) -> list[str]:
    """The flags among the words that say where configs are, with their values."""
    return [word for part in parts_of(words) if part[0].partition("=")[0] in CONFIG_FLAGS for word in part]


def flags_first(words: list[str]) -> list[str]:
    """The same words with flags, and what follows them, before all settings: argparse takes none between them.

    `--info` alone means `--info all`, and would take a setting for its word.
    """
    flags, settings = [], []
    for part in parts_of(words):
        if part[0].startswith("-"):
            flags += [*part, INFOS[0]] if part in (["--info"], ["-i"]) else part
        else:
            settings += part
    return flags + settings


def parts_of(words: list[str]) -> Iterator[list[str]]:
    """The words one by one, but a flag together with the word that belongs to it."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        takes = word in FLAGS_WITH_WORD or (word in ("--info", "-i") and rest[:1] and rest[0] in INFOS)
        yield [word, rest.pop(0)] if takes and rest else [word]


def is_flag(part: list[str]) -> bool:
    """Whether this is a flag that there is, alone, with its word, or as --FLAG=WORD."""
    return len(part) > 1 or part[0] in FLAGS_ALONE or part[0].partition("=")[0] in (*FLAGS_WITH_WORD, "--info")


def keys_of(words: list[str]) -> set[str]:
    """The keys and groups that are typed, and the flags: `+experiment=NAME`, `~logger`, `--config-name=NAME`, `-m`."""
    return {word.lstrip("+~").partition("=")[0] for word in words}


def _corrected(words: list[str], job: str) -> Iterator[tuple[str, list[str]]]:
    """Each word as it was typed (of a wrong flag with its value), and what was meant by it."""
    rest = list(parts_of(words))
    while rest:
        part = rest.pop(0)
        word = part[0]
        flag, equals, value = word.partition("=")
        if is_flag(part):
            yield from ((one, [one]) for one in part)
        elif word.startswith("-"):
            name = flag.lstrip("-").replace("-", "_")
            if not equals and rest and not rest[0][0].startswith("-") and "=" not in rest[0][0]:
                value = rest.pop(0)[0]
                word = f"{word} {value}"
            yield word, [f"{_full_key(name, job)}={value or 'true'}"]
        elif equals and re.fullmatch(r"[\d.]+", value) and (key := _first_number(flag)):
            yield word, [f"{key}={value}"]
        elif equals or (word.startswith("~") and "/" not in word):
            yield word, [word]
        else:
            yield word, _of_bare_word(word, job)


def _first_number(group: str) -> str | None:
    """The key that a number is for that was given to a whole group, as in clustering=50; None if it is no group."""
    return next((key for key in NUMBERS if key.startswith(f"{group}.")), None)


def _full_key(name: str, job: str) -> str:
    if "." in name or name in _schema(job).__dataclass_fields__:
        return name
    return next(iter(places_of(name, _schema(job))), name)


def _schema(job: str) -> type[TrainConfig | EvalConfig]:
    return TrainConfig if job == "train" else EvalConfig


def _of_bare_word(word: str, job: str) -> list[str]:
    """What a word without `=` may mean: a flag, an option of a group, a run, or a folder of images."""
    if word in ("help", "version"):
        return [f"--{word}"]
    path = Path(os.path.expanduser(word))
    groups = [] if path.exists() else groups_with(word)
    if groups:
        return [f"{groups[0]}={word}"]
    if not path.exists() and word in _schema(job).__dataclass_fields__:
        return [f"{word}=VALUE"]
    is_run = (path / "config.yaml").is_file()
    if job == "eval" and (is_run or not path.is_dir()):
        return [override("ckpt", word)]
    if is_run:
        return [override("resume", word)]
    return [override("data.root", word)]
