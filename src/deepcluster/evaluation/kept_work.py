"""Saves finished pieces of an evaluation in its folder, so that a repeated call continues after them.

A piece is one file NAME.state, written atomically. It holds the result and the facts that decide it (weights, images,
settings, seed). A damaged piece is computed again; a piece with other facts is refused.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepcluster.features.digest import weights_digest
from deepcluster.system.atomic import find_damage, save_atomically

# what torch.load raises for a damaged file
UNREADABLE = (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError)


def facts_of(network: nn.Module, **groups: Any) -> dict[str, str]:
    """Everything that decides a result, as dotted name -> text: the network's weights and all values of the groups.

    Args:
        groups: dataclasses, dictionaries or single values, such as seed=1, data=Folder(...).
    """
    return {"weights": weights_digest(network), **dict(_leaves("", groups))}


def samples_digest(samples: Iterable[object]) -> str:
    """A hash of the images' identities in their order, as a fact that decides a result."""
    names = "\n".join(map(str, samples))
    return hashlib.blake2b(names.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def digest_of(facts: Mapping[str, str]) -> str:
    """A short hash of the facts. As a folder's name it keeps pieces with different facts apart."""
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
    """Finished pieces in one folder that depend on the same facts.

    Args:
        folder: the evaluation's folder or one below it.
        facts: from :func:`facts_of`. If empty, a piece's name must contain everything that decides it.
        say: prints that a damaged piece is computed again.
        refuse: refuse pieces with other facts; False: compute them again and overwrite them.
    """

    folder: Path
    facts: Mapping[str, str]
    say: Callable[[str], object] = lambda line: None
    refuse: bool = True

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.state"

    def read(self, name: str, *, on: torch.device | None = None, mmap: bool = False) -> Any:
        """The content of a piece, or None if it must be computed.

        Args:
            on: device for its tensors; None: the CPU.
            mmap: read tensors from disk only when they are used; damage is then not noticed.

        Raises:
            ValueError: if the piece has other facts; names the first that differs.
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
                f"{file} was written by a call with other settings: its {key} is {facts.get(key, 'absent')}, now it is "
                f"{self.facts.get(key, 'absent')}; choose another output_dir, or repeat the earlier call"
            )
        return content

    def write(self, name: str, content: Any) -> None:
        """Save a piece: tensors, numbers, strings, and lists and dictionaries of them."""
        save_atomically(self.file(name), {"facts": dict(self.facts), "content": content})
