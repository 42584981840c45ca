"""Co-teaching: two networks that choose each other's images. Its step: test_one_step.py; resume: test_methods.py."""

from pathlib import Path

import pytest
import torch
from support import tiny
from support.tiny import Method

from deepcluster.training.target_settings import LookupSettings
from deepcluster.weights.recognise import read_weights


@pytest.mark.parametrize("clipped", [{}, {"gradient_clip_val": 0.05}])
def test_two_networks_that_keep_all_images_train_as_each_would_alone(tmp_path: Path, clipped: dict[str, float]) -> None:
    both = LookupSettings(co_teaching=True, kept_share=1.0)
    alone = tiny.build(tmp_path / "alone", max_epochs=2, trainer=clipped).fit()
    run = tiny.build(tmp_path / "both", max_epochs=2, method=Method(targets=both), trainer=clipped).fit()
    found, expected = run.weights(), alone.weights()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert {name for name in found if name not in expected} == {f"peer.{name}" for name in expected}
    for mine, other in zip(run.reassign.assignments, alone.reassign.assignments, strict=True):
        assert mine is not None and other is not None and torch.equal(mine.labels, other.labels)
    weights = [run.module.head.linear.weight, run.module.peer.head.linear.weight]  # type: ignore[union-attr]
    assert weights[0].shape == weights[1].shape and not torch.equal(*weights)
    metrics = alone.module.train_metrics.sums, run.module.train_metrics.sums
    assert torch.equal(metrics[0], metrics[1][:3]) and metrics[1][3] > 0


def test_a_checkpoint_is_read_as_the_first_network_alone(tmp_path: Path) -> None:
    both = LookupSettings(co_teaching=True, kept_share=0.7, kept_from_epoch=0)
    run = tiny.build(tmp_path, max_epochs=1, method=Method(targets=both)).fit()
    stored, backbone = read_weights(tmp_path / "checkpoints" / "last.ckpt"), run.module.backbone.state_dict()
    assert stored.tensors.keys() == backbone.keys() and stored.head is not None
    assert all(torch.equal(stored.tensors[name], value) for name, value in backbone.items())
    assert torch.equal(stored.head[0], run.module.head.linear.weight)  # type: ignore[union-attr]
