"""Features of several stages in memory: in one pass, in 16 bits, within a bound."""

from pathlib import Path

import pytest
import torch
from support import tiny_context

from deepcluster.evaluation.probe.stage_features import collect_stages, grouped
from deepcluster.evaluation.probe.stages import Pooling, Stage, chosen_stages


@pytest.mark.parametrize("factor", [1.0, 1e-9, 1e9])
def test_kept_features_are_the_stages_to_eleven_bits_whatever_their_scale(tmp_path: Path, factor: float) -> None:
    context = tiny_context.context(tmp_path)
    first = context.backbone.features.conv1[1]
    first.weight.data *= factor  # conv1's output; float16 itself ends at 65504 and 6e-8
    first.bias.data *= factor
    stages = chosen_stages(context.backbone, ["features", "conv1"], max_features=100)
    indices = torch.tensor([5, 0, 60, 33, *range(10, 40)])
    taps = {stage.name: stage.pooling for stage in stages}
    scales: list[float] = []
    kept = collect_stages(context.feature_pass(context.train_images, taps=taps), indices, stages, scales)
    pixels = (context.train_images.images[indices].float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        wanted = [context.backbone(pixels), stages[1].pooling(context.backbone.stage(pixels, "conv1")).flatten(1)]
    for matrix, scale, features in zip(kept, scales, wanted, strict=True):
        assert matrix.dtype == torch.float16 and matrix.shape == features.shape
        assert float((matrix.float() * scale - features).abs().max()) < 2**-10 * float(features.abs().max())
    again = collect_stages(context.feature_pass(context.test_images, taps=taps), torch.arange(4), stages, list(scales))
    assert all(torch.isfinite(matrix).all() for matrix in again)


def stage(name: str, n: int) -> Stage:
    return Stage(name=name, pooling=Pooling(), shape=(n,))


def test_stages_share_a_pass_as_far_as_memory_goes() -> None:
    stages = [stage("a", 300), stage("b", 600), stage("c", 100), stage("d", 900)]
    # 1,000 images x 2 bytes: 0.6, 1.2, 0.2 and 1.8 MB
    assert [[s.name for s in group] for group in grouped(stages, 1000, 2e-3)] == [["a", "b", "c"], ["d"]]
    assert [[s.name for s in group] for group in grouped(stages, 1000, 1.8e-3)] == [["a", "b"], ["c"], ["d"]]
    assert [[s.name for s in group] for group in grouped(stages, 1000, 1)] == [["a", "b", "c", "d"]]
    with pytest.raises(ValueError, match=r"too little: 1,000 images x 600 numbers of b take 0.0012 GB"):
        grouped(stages, 1000, 1e-3)
