"""Finished pieces of an evaluation, kept in its folder: the same call later goes on from them.

A piece is one file NAME.state. It holds the result and the facts that decide it (weights, images, settings, seed).
The file is there whole or not at all. A damaged one is computed again; one of other facts is refused.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepcluster.features.digest import weights_digest
from deepcluster.system.atomic import find_damage, save_atomically

UNREADABLE = (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError)  # of torch.load


def facts_of(network: nn.Module, **groups: Any) -> dict[str, str]:
    """What decides a result, as text by dotted name: the network's weights, and all values of the groups.

    Args:
        groups: dataclasses, dictionaries or single values, such as seed=1, data=Data(...).
    """
    return {"weights": weights_digest(network), **dict(_leaves("", groups))}


def digest_of(facts: Mapping[str, str]) -> str:
    """The facts as the name of a folder, for pieces that stay beside those of other facts."""
    return hashlib.blake2b(repr(sorted(facts.items())).encode(), digest_size=4).hexdigest()


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if not isinstance(value, Mapping):
        yield name, repr(list(value) if isinstance(value, tuple) else value)
        return
    for key, inner in value.items():
        yield from _leaves(f"{name}.{key}" if name else str(key), inner)


@dataclass(kw_only=True)
class KeptWork:
    """Pieces in one folder that the same facts decide.

    Args:
        folder: of the evaluation, or one in it.
        facts: from :func:`facts_of`; if empty, the pieces' names must tell all that decides them.
        say: prints that a damaged piece is computed again.
        refuse: refuse pieces of other facts; else they are computed again and written over.
    """

    folder: Path
    facts: Mapping[str, str]
    say: Callable[[str], object] = lambda line: None
    refuse: bool = True

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.state"

    def read(self, name: str, *, on: torch.device | None = None, mmap: bool = False) -> Any:
        """A piece as it was written, or None where it must be computed.

        Args:
            on: the device for its tensors; None: the CPU.
            mmap: read tensors from the disk when they are used; their damage is not noticed then.

        Raises:
            ValueError: if the piece is of other facts; names the first that differs.
        """
        file = self.file(name)
        if not file.is_file():
            return None
        try:
            stored = torch.load(file, map_location=on or "cpu", weights_only=True, mmap=mmap)
            facts, content = stored["facts"], stored["content"]
            damaged = not mmap and find_damage(file) is not None
        except UNREADABLE:
            damaged = True
        if damaged:
            self.say(f"{file.name} is damaged and is computed again")
            return None
        if differing := [key for key in {**self.facts, **facts} if self.facts.get(key) != facts.get(key)]:
            if not self.refuse:
                return None
            key = differing[0]
            raise ValueError(
                f"{file} was begun by another call: its {key} is {facts.get(key, 'absent')}, this one's is "
                f"{self.facts.get(key, 'absent')}; choose another output_dir, or repeat the call that began it"
            )
        return content

    def write(self, name: str, content: Any) -> None:
        """Keep a piece: tensors, numbers, strings, and lists and dictionaries of them."""
        save_atomically(self.file(name), {"facts": dict(self.facts), "content": content})
