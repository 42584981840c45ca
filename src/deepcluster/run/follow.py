"""A run that goes on from a finished one with more or fewer images, `follows=RUN`: what it takes over, what it tells.

It has a folder of its own, and the old run stays as it is. Images are known again by name and by what they hold. Taken
over are the network with its embedding and prototypes, the memory bank's rows, the clusters of known images, names. The
optimizer and the schedule begin anew. New images get their clusters by the first reassignment. At the end the clusters
go on from the old ones, so that their numbers and names stay. train.py calls this.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import read_assignments
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.bundle import NAMES, names_of_clusters
from deepcluster.evaluation.samples.changes import CHANGES, Changes, compare
from deepcluster.evaluation.samples.limit import upper_limit
from deepcluster.evaluation.samples.reach import Reach
from deepcluster.evaluation.samples.sample_files import CLUSTERS
from deepcluster.evaluation.samples.seen import numbers_by_identity
from deepcluster.evaluation.samples.sorting import carried_names
from deepcluster.system.program import program
from deepcluster.system.quoting import argument
from deepcluster.system.tables import read_csv, write_csv
from deepcluster.training.checkpointing import LAST
from deepcluster.training.module import METHOD, DeepClusterModule
from deepcluster.weights.checkpoint import load_checkpoint, read_torch_file

TAKEN_OVER = ("embedding.", "head.")  # of the module's weights, besides the backbone, which `init` brings


@dataclass(kw_only=True)
class Before:
    """The run before, as this one's images see it.

    Args:
        run: its folder.
        k: its clusters.
        samples: names of its images.
        labels: (M,) int64, their final clusters.
        numbers: (N,) int64, the number among them of each image now; -1: new.
        assignments: of each labeling the final one, with the labels of the N images now; -1: new.
        names: cluster -> name.
        is_start: its network is as it started, not that of its last.ckpt: nothing was trained, or to no good
            (keep=better).
    """

    run: Path
    k: int
    samples: list[str]
    labels: Tensor
    numbers: Tensor
    assignments: list[Assignment]
    names: dict[str, str]
    is_start: bool

    @property
    def n_gone(self) -> int:
        """Images that are no longer there."""
        return len(self.samples) - len(torch.unique(self.numbers[self.numbers >= 0]))

    def describe(self) -> str:
        """The line at the start of the run."""
        n_known = int((self.numbers >= 0).sum())
        gone = f", {self.n_gone:,} of its {len(self.samples):,} are gone" if self.n_gone else ""
        return f"follows    {self.run}: {n_known:,} images are known, {len(self.numbers) - n_known:,} are new{gone}"


def read_before(folder: str, images: ImageSet, *, k: int) -> Before:
    """Read the run before.

    Args:
        folder: of that run.
        images: the N images now.
        k: the most clusters that this run can have.

    Raises:
        ValueError: if it is not finished, no image is known, or its names.csv cannot be read.
    """
    run, final = Path(folder), Path(folder) / "checkpoints" / "final.ckpt"
    if not final.is_file():
        raise ValueError(
            f"follows={run}: that run is not finished (no checkpoints/final.ckpt); finish it with "
            f"{program('train')} {argument('resume', run)}"
        )
    stored, samples = load_checkpoint(final), read_assignments(run, "final").samples
    assert stored.assignment is not None
    numbers = numbers_by_identity(run, samples, images)
    if not bool((numbers >= 0).any()):
        raise ValueError(
            f"follows={run}: none of its {len(samples):,} images is among the {len(images):,} of data.root, by name or "
            f"by what it holds; for other images start a new run, with init=checkpoint {argument('init.path', run)} to "
            "begin from its weights"
        )
    labelings = [stored.assignment, *(other.assignment for other in stored.others if other.assignment is not None)]
    return Before(
        run=run,
        k=stored.assignment.k,
        samples=samples,
        labels=stored.assignment.labels,
        numbers=numbers,
        assignments=[_of_images(assignment, numbers, k) for assignment in labelings],
        names=names_of_clusters(None, run, stored.assignment.k),
        is_start=stored.epoch == 0,
    )


def _of_images(assignment: Assignment, numbers: Tensor, k: int) -> Assignment:
    """The assignment with the labels of the images now; clusters from `k` on, which have no room, are left empty."""
    labels = torch.where(numbers < 0, -1, assignment.labels[numbers.clamp(min=0)])
    labels[labels >= k] = -1
    sizes = torch.bincount(labels + 1, minlength=assignment.k + 1)[1:]
    return replace(assignment, labels=labels, n_unused=int((sizes == 0).sum()), soft=None)


@torch.no_grad()
def take_over(module: DeepClusterModule, before: Before) -> None:
    """Bring embedding, prototypes and the rows of the memory bank from the last checkpoint of the run before.

    Of a head with more or fewer outputs the rows that both have. A head that is drawn anew for each clustering, and
    what `final.ckpt` alone does not hold, begins anew; all of it where that run ended with its start, because they fit
    the network that it gave up.
    """
    last = before.run / "checkpoints" / LAST
    if before.is_start or not last.is_file():
        return
    content: dict[str, Any] = read_torch_file(last)
    state = module.state_dict()
    for name, value in content["state_dict"].items():
        mine = state.get(name)
        if name.startswith(TAKEN_OVER) and isinstance(mine, Tensor) and isinstance(value, Tensor):
            if mine.shape == value.shape:
                mine.copy_(value)
            elif mine.ndim and mine.shape[1:] == value.shape[1:]:
                n = min(len(mine), len(value))
                mine[:n] = value[:n]
    bank, stored = module.bank, content.get(METHOD, {}).get("bank")
    if bank is not None and stored is not None and stored["rows"].shape[::2] == bank.rows.shape[::2]:
        known = torch.nonzero(before.numbers >= 0).flatten()
        rows = stored["rows"][:, before.numbers[known]]
        is_written = stored["written"][before.numbers[known]] >= 0
        bank.write(known[is_written], rows[:, is_written], step=0)


def tell_changes(before: Before, folder: Path, images: ImageSet, assignment: Assignment) -> Changes:
    """Write changes.csv, and names.csv with the names of the run before where there is none yet.

    Args:
        folder: the run's, with its clusters.csv.
        assignment: the final one.
    """
    samples, clusters = list(images.samples), assignment.labels.tolist()
    known = torch.nonzero(before.numbers >= 0).flatten().tolist()
    were = {samples[i]: int(before.labels[before.numbers[i]]) for i in known}
    if before.names and not (folder / NAMES).is_file():
        as_text = {sample: str(cluster) for sample, cluster in were.items()}
        now = {sample: str(cluster) for sample, cluster in zip(samples, clusters, strict=True)}
        carried = carried_names(before.names, as_text, now)
        write_csv(
            folder / NAMES, ["cluster", "name"], [[number, carried[number]] for number in sorted(carried, key=int)]
        )
    still_there, called_so = set(before.numbers.tolist()), set(samples)
    gone = {
        f"{sample} (before)" if sample in called_so else sample: int(before.labels[i])  # another may have its name now
        for i, sample in enumerate(before.samples)
        if i not in still_there
    }
    fits = _fits(folder / CLUSTERS, before.numbers >= 0, assignment)
    if fits is not None:
        fits |= assignment.labels >= before.k  # they have a group of their own
    changes = compare(
        were | gone,
        samples,
        clusters,
        fits=None if fits is None else fits.tolist(),
        names=names_of_clusters(None, folder, assignment.k),
    )
    changes.write(folder / CHANGES)
    return changes


def _fits(file: Path, is_known: Tensor, assignment: Assignment) -> Tensor | None:
    """Whether images are as near to their centroids, and as little odd, as is usual of the known ones.

    Args:
        file: clusters.csv.
        is_known: (N,) bool.

    Returns:
        (N,) bool; None if the file holds no distances.
    """
    rows = list(read_csv(file))
    distances, odd = (_numbers(row.get(name) for row in rows) for name in ("distance", "odd_score"))
    if not bool(distances.isfinite().any()):
        return None
    reach = Reach.of(torch.where(is_known, assignment.labels, -1), distances, assignment.k)
    fits = reach.fits(assignment.labels, distances)
    return fits if bool(odd.isnan().any()) else fits & (odd <= upper_limit(odd[is_known]))


def _numbers(cells: Iterable[str | None]) -> Tensor:
    """NaN for empty cells."""
    return torch.tensor([float(cell) if cell else torch.nan for cell in cells])
