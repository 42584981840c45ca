"""One seed from several visible parts, such as (seed, "crops", epoch, batch)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def mix(*parts: int | str) -> int:
    """Mix parts into one seed of 63 bits; equal parts give equal seeds on every machine and process.

    It is a hash, because with a sum (seed 1, epoch 2) and (seed 2, epoch 1) would get the same random numbers.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by :func:`mix` of the parts."""
    import torch

    return torch.Generator(device=device).manual_seed(mix(*parts))


def seed_device(device: torch.device, seed: int) -> None:
    """torch.manual_seed for the CPU and one device only.

    torch.manual_seed seeds every kind of device and records the call stack while CUDA is not initialised. That takes up
    to a millisecond, which is too much for each step of a small network.
    """
    import torch

    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
