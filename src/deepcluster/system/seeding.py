"""Seeds from visible parts: (seed, "crops", epoch, batch) -> one number. Used by data, training and run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def mix(*parts: int | str) -> int:
    """Mix parts into one seed of 63 bits; equal parts give equal seeds on every machine and process.

    A hash, not a sum: (seed 1, epoch 2) and (seed 2, epoch 1) must not share their random numbers.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by :func:`mix` of the parts."""
    import torch

    return torch.Generator(device=device).manual_seed(mix(*parts))


def seed_device(device: torch.device, seed: int) -> None:
    """torch.manual_seed for what is drawn on the CPU and on one device.

    torch's own asks every kind of device and notes the call stack where CUDA has not started, which takes up to a
    millisecond: too much for each step of a small network.
    """
    import torch

    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
