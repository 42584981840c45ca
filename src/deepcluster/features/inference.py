"""A fast copy of a backbone for extraction and probes, which do not train it. Next: extraction.py."""

import copy
import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepcluster.models.backbone import Backbone

# Modules whose blocks run bnN right after convN, in whatever order the two are defined.
PAIRED = ("torchvision.models.resnet", "timm.models.resnet")


def inference_copy(backbone: Backbone, *, dtype: torch.dtype = torch.float32, channels_last: bool = False) -> Backbone:
    """A deep copy in eval mode with BatchNorm folded into the convolutions; the original is not changed.

    Args:
        dtype: float32, or bfloat16 where the hardware computes faster in it. Sobel stays float32 (models/sobel.py), and
            so does a backbone whose `needs_float32` is set.
        channels_last: layout of images and weights in memory.

    Returns:
        A backbone with float32 inputs and outputs, and without gradients.

    Raises:
        ValueError: if dtype is another type.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"an inference copy computes in float32 or bfloat16, got {dtype}")
    if backbone.needs_float32:
        dtype = torch.float32
    fast = copy.deepcopy(backbone).eval().requires_grad_(False)
    fold_batch_norm(fast)
    for part in (fast.features, fast.neck):
        part.to(dtype)
        # BatchNorm that could not be folded keeps float32 weights: torch computes it on bfloat16 inputs.
        for module in part.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.float()
    if channels_last:
        fast.to(memory_format=torch.channels_last)
    fast.compute_dtype = dtype
    fast.memory_format = torch.channels_last if channels_last else torch.preserve_format
    return fast


def fold_batch_norm(network: nn.Module) -> int:
    """Fold BatchNorm into the convolution in front of it, in place; return how many were folded.

    Only where the order of execution is known: neighbours in a Sequential, and the blocks of ResNets.
    """
    n_folded = 0
    for parent in network.modules():
        for conv_name, norm_name in _pairs(parent):
            conv, norm = getattr(parent, conv_name), getattr(parent, norm_name)
            # Exact types: a subclass may do more, such as timm's BatchNorm that contains the activation.
            foldable = type(conv) is nn.Conv2d and type(norm) in (nn.BatchNorm2d, nn.SyncBatchNorm)
            if foldable and norm.running_mean is not None:
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
                n_folded += 1
    return n_folded


def _pairs(parent: nn.Module) -> list[tuple[str, str]]:
    """Names of children (first, second) of which the second runs right after the first."""
    names = [name for name, _ in parent.named_children()]
    if isinstance(parent, nn.Sequential):
        return list(itertools.pairwise(names))
    if type(parent).__module__ in PAIRED:
        numbers = [name.removeprefix("conv") for name in names if name.startswith("conv")]
        return [(f"conv{n}", f"bn{n}") for n in numbers if f"bn{n}" in names]
    return []
