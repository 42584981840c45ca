"""The pooled maps of several stages, held in memory for a probe that reads them many times. Next: linear_probe.py."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deepcluster.evaluation.probe.stages import Stage
from deepcluster.features.extraction import FeaturePass

BYTES = 2  # of a number in float16
# The largest number of a stage's first block becomes about this. It leaves a factor of 256 to float16's largest, 65504,
# and a number a millionth as large is still above float16's smallest.
TARGET = 2**8
LARGEST = 65504.0


def grouped(stages: Sequence[Stage], n_images: int, memory_gb: float) -> list[list[Stage]]:
    """Stages whose features fit into memory together; each group costs one pass over the images.

    Raises:
        ValueError: if one stage alone does not fit.
    """
    room = memory_gb * 1e9
    groups: list[list[Stage]] = []
    used = math.inf
    for stage in stages:
        size = BYTES * n_images * stage.n_features
        if size > room:
            raise ValueError(
                f"evaluation.memory_gb={memory_gb:g} is too little: {n_images:,} images x {stage.n_features} numbers "
                f"of {stage.name} take {size / 1e9:.2g} GB; raise it, lower evaluation.max_images or "
                "evaluation.max_features, or set evaluation.protocol=original, which keeps none"
            )
        if used + size > room:
            groups.append([])
            used = 0
        groups[-1].append(stage)
        used += size
    return groups


def collect_stages(
    source: FeaturePass,
    indices: Tensor,
    stages: Sequence[Stage],
    scales: list[float],
    advance: Callable[[int], object] = lambda n: None,
) -> list[Tensor]:
    """Features of the named images at each stage, in one pass.

    Args:
        source: the pass through these stages (``taps``), one after the other in a row.
        indices: n images.
        stages: whose numbers the rows hold.
        scales: powers of two, one per stage, by which the features are divided so that float16 holds them; if it is
            empty, the first block decides them and they are put in. The test images take those of the training images.

    Returns:
        One float16 (n, M) matrix per stage; times its scale they are the features.
    """
    kept = [torch.empty(len(indices), stage.n_features, dtype=torch.float16) for stage in stages]
    done = 0
    for block, rows in source.stream(indices):
        columns = torch.split(rows.float(), [stage.n_features for stage in stages], dim=1)
        if len(scales) < len(stages):
            scales[:] = [_power_of_two(float(part.abs().max()) / TARGET) for part in columns]
        for matrix, part, scale in zip(kept, columns, scales, strict=True):
            # A number 256 times as large as all in the first block is cut to float16's largest, not made infinite.
            matrix[done : done + len(block)] = (part / scale).clamp(-LARGEST, LARGEST).cpu()
        done += len(block)
        advance(len(block))
    return kept


def _power_of_two(x: float) -> float:
    return 2.0 ** math.ceil(math.log2(x)) if x > 0 else 1.0
