"""The overrides of a sweep: what the command line and files give, and the jobs that follow. For check.py and end.py."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf


def sweep_keys_of_swept_groups(words: list[str]) -> list[str]:
    """The typed words, with KEY=VALUE of a swept group as KEY=choice(VALUE), which means the same.

    Before the jobs' configs Hydra composes one without anything that is swept. There it would look for the key of
    `evaluation=NAME1,NAME2 evaluation.KEY=VALUE` in the default evaluation.
    """
    parser = OverridesParser.create()
    try:
        parsed = {word: parser.parse_override(word) for word in words if "=" in word and word[0] != "-"}
    except HydraException:  # Hydra reports it later
        return words
    swept = {override.get_key_element() for override in parsed.values() if override.is_sweep_override()}

    def as_choice(word: str) -> str:
        key, _, value = word.partition("=")
        override = parsed.get(word)
        if override is None or not value or override.is_sweep_override() or override.is_delete():
            return word
        group, dot, _ = override.get_key_element().lstrip("+").partition(".")
        return f"{key}=choice({value})" if dot and group in swept else word

    return [as_choice(word) for word in words]


def expand_jobs(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep: every combination of values, in the order of Hydra's basic sweeper.

    Raises:
        ValueError: for an interval, which only a search takes (hydra/sweeper=optuna).
    """
    return [list(job) for job in itertools.product(*values_by_key(overrides, intervals=False).values())]


def candidate_jobs(overrides: list[str]) -> list[list[str]]:
    """Jobs that a search may try: each value of each key and both ends of intervals, with the other keys' first."""
    by_key = values_by_key(overrides, intervals=True)
    first = {key: words[0] for key, words in by_key.items()}
    jobs = [list(first.values())]
    for key, words in by_key.items():
        jobs += [list({**first, key: word}.values()) for word in words[1:]]
    return jobs


def values_by_key(overrides: Sequence[str], *, intervals: bool) -> dict[str, list[str]]:
    """Key -> KEY=VALUE for each of its values; where a key is given twice, the later values count.

    Args:
        intervals: take both ends of an interval; False: refuse it.

    Raises:
        ValueError: for an interval that is refused.
    """
    hydra = GlobalHydra.instance().hydra
    by_key: dict[str, list[str]] = {}
    for override in OverridesParser.create(hydra.config_loader if hydra else None).parse_overrides(list(overrides)):
        key = override.get_key_element()
        by_key[key] = [f"{key}={value}" for value in _values(override, intervals)]
    return by_key


def _values(override: Override, intervals: bool) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    if not intervals:
        raise ValueError(
            f"{override.input_line}: this sweeper has no intervals; list the values, as in "
            f"{override.get_key_element()}=1,2, or add hydra/sweeper=optuna"
        )
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    return [str(interval.start), str(interval.end)]


def sweep_overrides(hydra: DictConfig) -> list[str]:
    """All overrides of a sweep: those of a file (hydra.sweeper.params), then those that were typed."""
    params = OmegaConf.select(hydra, "sweeper.params") or {}
    return [f"{key}={value}" for key, value in params.items()] + list(hydra.overrides.task)


def name_and_group(hydra: HydraConf, folder: Path) -> tuple[str, str | None]:
    """The name and the group that a tracker gives a run.

    Args:
        hydra: Hydra's part of the run's config.
        folder: the run's.

    Returns:
        The folder's name and None; in a sweep the overrides in which its jobs differ, and the name of its folder.
    """
    if hydra.mode != RunMode.MULTIRUN:
        return folder.resolve().name, None
    keys = {word: word.partition("=")[0] for word in hydra.overrides.task}
    same_for_all = hydra.job.config.override_dirname.exclude_keys
    words = [w for w, key in keys.items() if key not in same_for_all and key.partition(".")[0] != "logger"]
    return " ".join(words) or folder.resolve().name, Path(hydra.sweep.dir).resolve().name


def is_search(hydra: Any) -> bool:
    """Whether the sweeper chooses values by the results so far (hydra/sweeper=optuna)."""
    return not str(hydra.sweeper["_target_"]).endswith("BasicSweeper")
