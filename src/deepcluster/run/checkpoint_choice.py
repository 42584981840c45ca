"""Which checkpoint a run is resumed from: the last one, or the one before if that is damaged or of another run.

train.py asks before it computes anything. Next: Lightning restores the chosen file.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcluster.training.checkpointing import LAST, PREVIOUS
from deepcluster.weights import checkpoint
from deepcluster.weights.checkpoint import Checkpoint


@dataclass(kw_only=True)
class ThisRun:
    """What a checkpoint must fit.

    Args:
        card: the network's description.
        settings: those that a resumed run cannot change (settings/resume.py, what_is_learned).
        n_images: N.
        capacity: the most clusters that the head has room for.
        k_is_fixed: whether every assignment has exactly that many.
    """

    card: dict[str, Any]
    settings: dict[str, Any]
    n_images: int
    capacity: int
    k_is_fixed: bool

    def check(self, stored: Checkpoint) -> None:
        """Refuse a checkpoint that this run cannot be resumed from.

        Raises:
            ValueError: naming what differs.
        """
        if stored.head is None:
            raise ValueError(
                f"{stored.path} is no last.ckpt: like a final.ckpt it holds no state of a training that could go on"
            )
        checkpoint.check_same_network(stored.card, self.card, stored.path)
        checkpoint.check_same_clusters(stored, self.capacity, k_is_fixed=self.k_is_fixed)
        n_clustered = self.n_images if stored.assignment is None else len(stored.assignment.labels)
        if n_clustered != self.n_images:
            raise ValueError(
                f"{stored.path} clustered {n_clustered} images, data.root now has {self.n_images}; "
                "resume with the same images, or start a new run"
            )
        checkpoint.check_same_run(stored, self.settings)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder that it can be resumed from, the newest first."""
    files = (folder / "checkpoints" / name for name in (LAST, PREVIOUS))
    return [file for file in files if file.is_file()]


def choose_checkpoint(folder: Path, run: ThisRun, say: Callable[[str], None]) -> Checkpoint:
    """The newest checkpoint that is whole and fits this run.

    Args:
        say: is told why a newer one was refused.

    Raises:
        ValueError: if there is none; why the newest was refused, and what to do.
    """
    refused: list[str] = []
    for file in checkpoints(folder):
        try:
            stored = checkpoint.load_checkpoint(file)
            run.check(stored)
        except ValueError as error:
            refused.append(str(error))
            continue
        for reason in refused:
            say(f"refused    {reason}")
        return stored
    way_out = f"; the one before it: {refused[1]}" if len(refused) > 1 else "; there is no previous.ckpt before it"
    begin = f"delete {folder / 'checkpoints'} to begin again in this folder"
    raise ValueError(f"{refused[0]}{way_out}. Put a good one there, or {begin}")


def put_aside(folder: Path, chosen: Path) -> None:
    """Rename a last.ckpt that was refused: else it would become previous.ckpt in place of the chosen one."""
    last = folder / "checkpoints" / LAST
    if chosen != last and last.is_file():
        os.replace(last, last.with_name(f"{LAST}.refused"))
