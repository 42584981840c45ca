"""A checkpoint of another number of processes: the same images are seen, and Lightning's counts fit."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny

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
    scheduler = {"T_max": 200, "last_epoch": 50, "_step_count": 51, "base_lrs": [0.4, 0.2], "_last_lr": [0.0, 0.0]}
    optimizer = {"param_groups": [{"lr": 0.1}, {"lr": 0.1}]}
    checkpoint = {
        "loops": {"fit_loop": {"epoch_loop.batch_progress": {"current": counts}}},
        "lr_schedulers": [scheduler],
        "optimizer_states": [optimizer],
    }
    convert_counts(checkpoint, 6, steps_ratio=0.5)
    assert counts == {"ready": 6, "started": 6, "processed": 6, "completed": 5}
    assert (scheduler["T_max"], scheduler["last_epoch"], scheduler["_step_count"]) == (100, 25, 26)
    share = (1 + math.cos(math.pi / 4)) / 2
    assert [group["lr"] for group in optimizer["param_groups"]] == pytest.approx([0.4 * share, 0.2 * share])
