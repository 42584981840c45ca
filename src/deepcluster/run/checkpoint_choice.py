"""Choose the checkpoint to resume from: the last one, or the one before it if the last does not fit this run.

train.py calls this before it computes anything. Next: Lightning restores the chosen file.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepcluster.settings.moved_keys import renamed
from deepcluster.training.checkpointing import LAST, PREVIOUS
from deepcluster.weights import checkpoint
from deepcluster.weights.checkpoint import Checkpoint


@dataclass(kw_only=True)
class ThisRun:
    """The run that a checkpoint must fit.

    Args:
        card: the network's description.
        settings: those that a resumed run cannot change, from :func:`deepcluster.settings.resume.what_is_learned`.
        n_images: N.
        capacity: the largest number of clusters, which is the size of the head.
        k_is_fixed: every assignment has exactly that many clusters.
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
        if not stored.is_resumable:
            raise ValueError(
                f"{stored.path} holds no training state, like a final.ckpt; a run is resumed from a last.ckpt"
            )
        checkpoint.check_same_network(stored.card, self.card, stored.path)
        checkpoint.check_same_clusters(stored, self.capacity, k_is_fixed=self.k_is_fixed)
        n_clustered = self.n_images if stored.assignment is None else len(stored.assignment.labels)
        if n_clustered != self.n_images:
            raise ValueError(
                f"{stored.path} clustered {n_clustered} images, data.root now has {self.n_images}; "
                "resume with the same images, or start a new run"
            )
        checkpoint.check_same_run(replace(stored, settings=renamed(stored.settings or {})), self.settings)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder that it can be resumed from, the newest first."""
    files = (folder / "checkpoints" / name for name in (LAST, PREVIOUS))
    return [file for file in files if file.is_file()]


def choose_checkpoint(folder: Path, run: ThisRun, say: Callable[[str], None]) -> Checkpoint:
    """The newest checkpoint that is whole and fits this run.

    Args:
        say: prints why a newer one was refused.

    Raises:
        ValueError: if there is none; says why the newest was refused, and what to do.
    """
    refusals: list[str] = []
    for file in checkpoints(folder):
        try:
            stored = checkpoint.load_checkpoint(file)
            run.check(stored)
        except ValueError as error:
            refusals.append(str(error))
            continue
        for reason in refusals:
            say(f"refused    {reason}")
        return stored
    older = f"the one before it: {refusals[1]}" if len(refusals) > 1 else "there is no previous.ckpt before it"
    raise ValueError(
        f"{refusals[0]}; {older}. Put a good one there, or delete {folder / 'checkpoints'} to start again here"
    )


def put_aside(folder: Path, chosen: Path) -> None:
    """Rename a refused last.ckpt, which the next checkpoint would otherwise rename over the chosen previous.ckpt."""
    last = folder / "checkpoints" / LAST
    if chosen != last and last.is_file():
        os.replace(last, last.with_name(f"{LAST}.refused"))
