"""A checkpoint of another number of processes: the same images are seen, and Lightning's counts fit."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from torch import nn

from deepcluster.training.optimizer import SGDSettings
from deepcluster.training.optimizers import LearningRate
from deepcluster.training.world_size_change import convert_counts


def test_one_process_goes_on_where_two_were_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(tiny.Killed):  # in the third step of epoch 1, before its checkpoint: two batches of 16 are saved
        tiny.build(tmp_path, max_epochs=3, every_n_steps=1, kill_after=(1, 2)).fit()
    last = tmp_path / "checkpoints" / "last.ckpt"
    stored: dict[str, Any] = torch.load(last, weights_only=True)
    # 32 images are also what two processes have seen after one batch each, of three
    state = {"epoch": 1, "batches_done": 1, "n_batches": 3, "world_size": 2, "images_before": 0}
    fit_loop = stored["loops"]["fit_loop"]
    fit_loop["state_dict"]["combined_loader"] = [state]
    fit_loop["epoch_loop.batch_progress"]["current"] = {"ready": 1, "started": 1, "processed": 1, "completed": 0}
    torch.save(stored, last)
    whole = tiny.build(tmp_path / "whole", max_epochs=3).fit()
    resumed = tiny.build(tmp_path, max_epochs=3).fit(resume=True)
    assert resumed.trainer.current_epoch == 3
    indices, labels = resumed.seen.of_epoch(1)
    whole_indices, whole_labels = whole.seen.of_epoch(1)
    assert torch.equal(indices, whole_indices[32:]) and torch.equal(labels, whole_labels[32:])
    assert [number for epoch, number, *_ in resumed.seen.batches if epoch == 1] == [2, 3, 4, 5]
    assert len(resumed.seen.of_epoch(2)[0]) == tiny.N_IMAGES
    # the batches are the same ones, and so are the weights
    assert all(torch.equal(a, b) for a, b in zip(resumed.weights().values(), whole.weights().values(), strict=True))
    assert "1 in place of 2: steps of 16 images from here on, within epoch 2 after 32 of 96" in capsys.readouterr().out


def test_a_cosine_stands_at_the_same_share_of_its_way() -> None:
    counts = {"ready": 12, "started": 12, "processed": 12, "completed": 11}
    first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.4}, {"params": [second], "lr": 0.2}])
    settings = SGDSettings(schedule="cosine", warmup_epochs=1)
    rate = LearningRate(optimizer, partial(settings.share_of_lr, n_steps=110, steps_per_epoch=10))
    checkpoint: dict[str, Any] = {
        "loops": {"fit_loop": {"epoch_loop.batch_progress": {"current": counts}}},
        "lr_schedulers": [{"last_epoch": 70}],  # of 220 steps, 20 of them warm-up: a quarter of the cosine
    }
    convert_counts(checkpoint, 6, steps_ratio=0.5)
    assert counts == {"ready": 6, "started": 6, "processed": 6, "completed": 5}
    rate.load_state_dict(checkpoint["lr_schedulers"][0])
    share = (1 + math.cos(math.pi / 4)) / 2
    assert rate.last_epoch == 35
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.4 * share, 0.2 * share])
