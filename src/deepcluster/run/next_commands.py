"""What to type next, at the end of a run: commands to paste that name this run's folder. For summary.py."""

from pathlib import Path

from deepcluster.clustering.method import Clustering
from deepcluster.data.settings import SHIPPED, Folder, Source
from deepcluster.system.program import program
from deepcluster.system.quoting import argument
from deepcluster.system.words import command


def next_commands(
    folder: Path, *, data: Source, clustering: Clustering, max_epochs: int, schedule: str
) -> dict[str, str]:
    """Aim -> the command for it.

    Args:
        folder: the run's.
        data: its images.
        max_epochs: the value of trainer.max_epochs.
        schedule: the value of optimizer.schedule.
    """
    train = program("train")
    commands = {"look": command("page", folder)}
    if max_epochs > 0 and schedule != "cosine":  # whose way has ended: a resumed run cannot go on
        commands["train on"] = f"{train} {argument('resume', folder)} trainer.max_epochs={2 * max_epochs}"
    commands["new images"] = command("assign", folder, "DIR")
    if isinstance(data, Folder) and max_epochs > 0:
        commands["train with more"] = command("more", folder, "DIR")
    if data.source == SHIPPED:
        own = "deepcluster DIR" if train == "deepcluster train" else f"{train} experiment=photographs data.root=DIR"
        commands["your own images"] = own
        if clustering.k_is_fixed:
            commands["compare K"] = f"{train} -m clustering.k=25,50,100"
    return commands
