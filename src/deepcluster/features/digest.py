"""A hash of a network, to tell whether stored results were computed with these weights."""

import hashlib

import torch
from torch import nn


def weights_digest(network: nn.Module) -> str:
    """A hash of a network's weights and layers: 32 hexadecimal digits."""
    digest = hashlib.blake2b(repr(network).encode(), digest_size=16)
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
