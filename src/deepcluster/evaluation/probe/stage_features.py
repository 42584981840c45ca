"""Collects the pooled maps of several stages in memory, for a probe that rereads them. Next: linear_probe.py."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deepcluster.evaluation.probe.stages import Stage
from deepcluster.features.extraction import FeaturePass

BYTES = 2  # per number in float16
# Features are scaled so that the largest number of a stage's first block becomes about this. Float16's largest number
# is 256 times larger, and a number a million times smaller than this is still above float16's smallest.
TARGET = 2**8
LARGEST = 65504.0  # float16's


def grouped(stages: Sequence[Stage], n_images: int, memory_gb: float) -> list[list[Stage]]:
    """Group stages whose features fit into memory together; each group needs one pass over the images.

    Raises:
        ValueError: if a single stage does not fit.
    """
    limit = memory_gb * 1e9  # bytes
    groups: list[list[Stage]] = []
    used = math.inf
    for stage in stages:
        size = BYTES * n_images * stage.n_features
        if size > limit:
            raise ValueError(
                f"evaluation.memory_gb={memory_gb:g} is too little: {n_images:,} images x {stage.n_features} numbers "
                f"of {stage.name} take {size / 1e9:.2g} GB; raise it, lower evaluation.max_images or "
                "evaluation.max_features, or set evaluation.protocol=original, which does not hold features"
            )
        if used + size > limit:
            groups.append([])
            used = 0
        groups[-1].append(stage)
        used += size
    return groups


def collect_stages(
    feature_pass: FeaturePass,
    indices: Tensor,
    stages: Sequence[Stage],
    scales: list[float],
    advance: Callable[[int], object] = lambda n: None,
) -> list[Tensor]:
    """Features of images at each stage, in one pass.

    Args:
        feature_pass: the pass through these stages (``taps``); its rows hold their features one after the other.
        indices: (n,), the images.
        stages: the stages.
        scales: powers of two, one per stage, by which the features are divided so that float16 can hold them. An empty
            list is filled here, by the first block. Test images take the scales of the training images.

    Returns:
        One float16 matrix (n, M) per stage; multiplied by its scale it is the features.
    """
    matrices = [torch.empty(len(indices), stage.n_features, dtype=torch.float16) for stage in stages]
    done = 0
    for block, rows in feature_pass.stream(indices):
        columns = torch.split(rows.float(), [stage.n_features for stage in stages], dim=1)
        if len(scales) < len(stages):
            scales[:] = [_power_of_two(float(part.abs().max()) / TARGET) for part in columns]
        for matrix, part, scale in zip(matrices, columns, scales, strict=True):
            # A number 256 times larger than all in the first block is clipped to float16's largest, not made infinite.
            matrix[done : done + len(block)] = (part / scale).clamp(-LARGEST, LARGEST).cpu()
        done += len(block)
        advance(len(block))
    return matrices


def _power_of_two(x: float) -> float:
    return 2.0 ** math.ceil(math.log2(x)) if x > 0 else 1.0
