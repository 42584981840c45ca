"""A checkpoint is there whole or not at all, and holds no code."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support import tiny

from deepcluster.training.checkpointing import AtomicCheckpointIO, LastCheckpoint


def test_a_full_disk_leaves_the_checkpoint_before_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, io = tmp_path / "run" / "checkpoints" / "last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"weights": torch.arange(3)}, path)

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*before it is intact.*resume="):
        io.save_checkpoint({"weights": torch.zeros(3)}, path)
    assert torch.equal(io.load_checkpoint(path)["weights"], torch.arange(3))
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_kill_while_writing_leaves_the_checkpoint_before_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"weights": torch.arange(3)}, path)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        io.save_checkpoint({"weights": torch.zeros(3)}, path)
    assert torch.equal(io.load_checkpoint(path)["weights"], torch.arange(3))


@pytest.mark.parametrize(("every_n_steps", "epoch", "step"), [(1, 0, 1), (None, 1, 0)])
def test_weights_that_are_not_finite_replace_no_checkpoint(
    every_n_steps: int | None, epoch: int, step: int, tmp_path: Path
) -> None:
    def diverge(trainer: pl.Trainer, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (epoch, step):
            next(trainer.lightning_module.parameters()).data.view(-1)[0] = torch.nan

    run = tiny.build(tmp_path, every_n_steps=every_n_steps, on_batch=diverge)
    with pytest.raises(ValueError, match=rf"^weights are not finite in epoch {epoch}: .* lower optimizer.lr=.* again$"):
        run.fit()
    last = AtomicCheckpointIO().load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    weights = [last["state_dict"][name] for name, _ in run.module.named_parameters()]
    assert all(weight.isfinite().all() for weight in weights)
    assert last["global_step"] == (step or run.trainer.num_training_batches)


@pytest.mark.parametrize("max_steps", [6, 8])
def test_training_that_ends_after_a_number_of_steps_leaves_a_checkpoint_of_its_end(
    max_steps: int, tmp_path: Path
) -> None:
    run = tiny.build(tmp_path, trainer={"max_steps": max_steps})  # 6 in an epoch
    (saver,) = [each for each in run.trainer.callbacks if isinstance(each, LastCheckpoint)]  # type: ignore[attr-defined]
    saver.every_n_epochs = 5
    run.fit()
    last = AtomicCheckpointIO().load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last["global_step"] == run.trainer.global_step == max_steps


@pytest.mark.parametrize("stopped_after", [(0, 2), (1, 5), (2, 0)])
def test_a_run_that_was_stopped_within_an_epoch_goes_on_with_the_rest_of_it(
    stopped_after: tuple[int, int], tmp_path: Path
) -> None:
    def stop(trainer: pl.Trainer, batch_idx: int) -> None:  # as Lightning's Timer does
        trainer.should_stop |= (trainer.current_epoch, batch_idx) == stopped_after

    whole = tiny.build(tmp_path / "whole").fit().weights()
    assert tiny.build(tmp_path / "stopped", on_batch=stop).fit().trainer.global_step < 18
    resumed = tiny.build(tmp_path / "stopped").fit(resume=True).weights()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_stop_that_waits_for_the_least_epochs_saves_at_their_ends_alone(tmp_path: Path) -> None:
    def stop(trainer: pl.Trainer, batch_idx: int) -> None:
        trainer.should_stop = True

    run = tiny.build(tmp_path, on_batch=stop, trainer={"min_epochs": 2})  # of 3
    (saver,) = [each for each in run.trainer.callbacks if isinstance(each, LastCheckpoint)]  # type: ignore[attr-defined]
    saver.every_n_epochs, steps, save = 5, list[int](), run.trainer.save_checkpoint
    run.trainer.save_checkpoint = lambda path: (steps.append(run.trainer.global_step), save(path))  # type: ignore
    run.fit()
    assert steps == [12] and run.trainer.global_step == 12


@pytest.mark.parametrize("killed_after", [(0, 3), (1, 1), (1, 3)])
def test_killed_between_the_batches_of_a_step_it_resumes_exactly(killed_after: tuple[int, int], tmp_path: Path) -> None:
    settings: dict[str, Any] = dict(max_epochs=2, every_n_steps=1, trainer={"accumulate_grad_batches": 2})
    whole = tiny.build(tmp_path / "whole", **settings).fit().weights()
    killed = tiny.build(tmp_path / "killed", kill_after=killed_after, **settings)
    with pytest.raises(tiny.Killed):
        killed.fit()
    resumed = tiny.build(tmp_path / "killed", **settings).fit(resume=True).weights()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed",))


def test_a_checkpoint_with_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Code()}, tmp_path / "last.ckpt")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "executed").exists()
