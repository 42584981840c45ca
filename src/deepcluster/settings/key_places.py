"""All keys by their full names: where one stands that was typed without its group (`k=50`), and which are paths."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from deepcluster.settings.options import EVAL_OPTIONS, OPTIONS
from deepcluster.system.setting import IS_PATH

# Of several keys with the same name the one that most people set, first; and what other programs call them.
USUAL = (
    *("data.root", "view.size", "clustering.k", "reduction.dim", "optimizer.lr", "optimizer.weight_decay"),
    *("trainer.max_epochs", "trainer.devices", "trainer.precision", "trainer.accelerator", "reading.batch_size"),
    *("reading.num_workers", "arch.name"),
)
OTHER_NAMES = {
    "epochs": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
    "learning_rate": "optimizer.lr",
    "n_clusters": "clustering.k",
    "clusters": "clustering.k",
    "image_size": "view.size",
    "dir": "data.root",
    "folder": "data.root",
    "path": "data.root",
    "model": "arch",
    "network": "arch",
    "gpus": "trainer.devices",
    "workers": "reading.num_workers",
    "out": "output_dir",
    "checkpoint": "ckpt",
}


def places_of(name: str, schema: Any) -> list[str]:
    """The full keys that a name without a group may mean, the likeliest first: one that is usual, or two at most.

    Args:
        name: as it was typed, in any case.
        schema: TrainConfig or EvalConfig.
    """
    name = name.lower()
    known = dict.fromkeys([*USUAL, *(full for full, _ in _keys(schema))])
    groups = {key.partition(".")[0] for key in known}
    meant = [key for key in (OTHER_NAMES.get(name),) if key is not None and key.partition(".")[0] in groups]
    exact = [key for key in known if key.rpartition(".")[2].lower() == name and key.partition(".")[0] in _names(schema)]
    likely = list(dict.fromkeys([*meant, *exact]))
    return likely[: 1 if meant or (likely and likely[0] in USUAL) else 2]


@cache
def path_keys(schema: Any) -> tuple[str, ...]:
    """The full names of the keys that hold a path, in the order of the schema; lists of paths are not among them.

    Args:
        schema: TrainConfig or EvalConfig.
    """
    paths = (full for full, key in _keys(schema) if key.metadata.get(IS_PATH) and key.default_factory is MISSING)
    return tuple(dict.fromkeys(paths))


def _names(schema: Any) -> list[str]:
    return [key.name for key in fields(schema)]


def _keys(schema: Any, prefix: str = "") -> Iterator[tuple[str, "Field[Any]"]]:
    """The full names and fields of all keys, of every option of each group."""
    hints = get_type_hints(schema)
    for key in fields(schema):
        full, hinted = f"{prefix}{key.name}", get_args(hints[key.name]) or (hints[key.name],)
        yield full, key
        options = {**OPTIONS, **EVAL_OPTIONS}.get(full, {}).values()
        # of train's `evaluation`, which is no group with options, none
        for kind in [kind for kind in options if issubclass(kind, hinted[0])] or hinted:
            if is_dataclass(kind):
                yield from _keys(kind, f"{full}.")
