"""A safetensors file of ours: tensors, a description in its header, and a checksum, which the format itself lacks."""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.system.atomic import write_atomically

DESCRIPTION, CHECKSUM = "card", "crc32"  # keys of the header's metadata


def write(file: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write tensors and their description, completely or not at all.

    Raises:
        ImportError: if safetensors is not installed.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {DESCRIPTION: json.dumps(description, indent=2) + "\n", CHECKSUM: str(_checksum(kept))}
    write_atomically(file, _safetensors().torch.save(kept, metadata=metadata))


def read(file: Path) -> tuple[dict[str, Tensor], str | None]:
    """Tensors of any safetensors file, and the text of the description if it has one of ours.

    Raises:
        ImportError: if safetensors is not installed.
        ValueError: if the file is damaged.
    """
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is not a dict
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is cut short or damaged ({str(error).splitlines()[0]})") from error
    if CHECKSUM in metadata and metadata[CHECKSUM] != str(_checksum(tensors)):
        raise ValueError(f"{file} is damaged (its tensors do not fit their checksum); copy or export it again")
    return tensors, metadata.get(DESCRIPTION)


def _checksum(tensors: dict[str, Tensor]) -> int:
    """Of the tensors' names and bytes, in the order of the names."""
    found = 0
    for name, value in sorted(tensors.items()):
        found = zlib.crc32(name.encode(), found)
        found = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise ImportError("safetensors is missing: pip install safetensors") from error
    return safetensors
