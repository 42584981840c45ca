"""A default stands once, in its dataclass: a YAML file holds what differs, and what a paper fixed with its source."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from support.configs import CONFIGS

from deepcluster.settings.options import EVAL_OPTIONS, OPTIONS
from deepcluster.settings.train import TrainConfig

SCHEMA = OmegaConf.structured(TrainConfig)
CLASSES = {**OPTIONS, **EVAL_OPTIONS}
# A file in view/ says all that it fixes: data=OPTION, which comes before it, may have set some of it otherwise.
GROUPS = [*(str(name) for name in SCHEMA if name not in ("view", "arch", "trainer")), *EVAL_OPTIONS]


def values(node: dict[str, Any], schema: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each value of a file that its schema has too: its full name, the value, the default."""
    for name, value in node.items():
        if name not in schema:
            continue
        default = schema._get_node(name)
        if isinstance(value, dict) and isinstance(default, DictConfig):
            yield from values(value, default, f"{prefix}{name}.")
        elif not OmegaConf.is_missing(schema, name):
            yield f"{prefix}{name}", value, OmegaConf.to_container(schema)[name]  # type: ignore[call-overload, index]


def schema_of(file: Path) -> DictConfig | None:
    """What a group's file is merged into; None for a variant of another file, which may say the default again."""
    text = file.read_text()
    group = file.parent.name
    kind = re.search(rf"/{group}_(\w+)@(_here_|{group})", text)
    own = OmegaConf.structured(CLASSES[group][kind[1]]) if kind else None
    if "# @package _global_" in text:
        return OmegaConf.merge(SCHEMA, {group: own}) if own is not None else SCHEMA  # type: ignore[return-value]
    if own is not None:
        return own
    return None if "defaults:" in text else SCHEMA[group]


def repeated(file: Path, schema: DictConfig) -> list[str]:
    plain = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(plain, dict)
    return [name for name, value, default in values(plain, schema) if value == default]  # type: ignore[arg-type]


FILES = [
    file for group in GROUPS for file in sorted((CONFIGS / group).glob("*.yaml")) if group not in ("arch", "trainer")
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_a_groups_file_holds_only_what_differs(file: Path) -> None:
    schema = schema_of(file)
    assert schema is None or not repeated(file, schema)


@pytest.mark.parametrize("file", sorted((CONFIGS / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_repeats_a_default_only_where_a_paper_fixed_it(file: Path) -> None:
    text = file.read_text()
    plain = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(plain, dict)
    names = []
    for group, node in plain.items():
        if group in ("defaults", "arch", "trainer") or not isinstance(node, dict):
            continue
        kind = re.search(rf"override /{group}: (\w+)", text)
        classes = CLASSES.get(str(group), {})
        schema = (
            SCHEMA[group]
            if not classes
            else OmegaConf.structured(classes.get(kind[1] if kind else "", next(iter(classes.values()))))
        )
        names += [f"{group}.{name}" for name, value, default in values(node, schema) if value == default]  # type: ignore[arg-type]
    lines = text.splitlines()
    bare = []
    for name in names:
        key = name.rpartition(".")[2]
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        if "#" not in lines[at] and not lines[at - 1].strip().startswith("#"):
            bare.append(name)
    assert not bare, f"{bare} of {file.name} equal the defaults: leave them out, or say which paper fixed them"


OF_SETS = ("mean", "std", "flip")  # of a view: facts about the images
SMALL_GARMENTS = "crop_scale"  # smaller crops of Fashion-MNIST's 28 px show too little, whatever the network


@pytest.mark.parametrize("file", sorted((CONFIGS / "data").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_source_says_nothing_of_network_size_crops_or_k(file: Path) -> None:
    plain = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(plain, dict) and plain.pop("defaults")[1] == "_self_"
    groups = plain if "# @package _global_" in file.read_text() else {"data": plain}
    assert groups.keys() <= {"data", "reading", "view"} and "batch_size" not in groups.get("reading", {})
    allowed = {*OF_SETS, SMALL_GARMENTS} if file.stem.startswith("fashion") else {*OF_SETS}
    assert set(groups.get("view", {})) <= allowed
