"""A hash of a network: whether what was computed with it before was computed with these weights."""

import hashlib

import torch
from torch import nn


def weights_digest(network: nn.Module) -> str:
    """A hash of a network's weights and of what it is made of; 32 hexadecimal digits."""
    digest = hashlib.blake2b(repr(network).encode(), digest_size=16)
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
