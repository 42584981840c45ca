"""Assignments on disk: one small file per reassignment, for comparing and plotting after the run.

RUN/assignments/samples.jsonl.gz    the images' identities, written once
RUN/assignments/contents.npy        what images hold, as numbers; rewritten when the run begins
RUN/assignments/epoch_00003.npz     labels, k, objective, epoch
RUN/assignments/labeling_1/         the same files of the second labeling, if there are several
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepcluster.system.atomic import opened_atomically, write_atomically
from deepcluster.system.names import alike

if TYPE_CHECKING:
    from deepcluster.clustering.assignment import Assignment

FOLDER = "assignments"  # in the run's folder
SAMPLES = "samples.jsonl.gz"
CONTENTS = "contents.npy"
DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)  # what damaged files raise


@dataclass(kw_only=True)
class AssignmentHistory:
    """T assignments of the same N images, in the order of their epochs.

    Args:
        samples: N identities of images: file names, or indices.
        names: T names: "epoch_00003", "final", ...
        epochs: T numbers of the epochs that the assignments were made for.
        labels: (T, N) int64, -1 for an image without a label.
        k: T numbers of clusters.
        objective: T sums of squared distances.
    """

    samples: list[str]
    names: list[str]
    epochs: list[int]
    labels: NDArray[np.int64]
    k: list[int]
    objective: list[float]

    def of(self, name: str | None = None) -> dict[str, int]:
        """Identity -> cluster, in the assignment of that name (the last by default).

        Raises:
            ValueError: if there is none of that name.
        """
        if name is not None and name not in self.names:
            raise ValueError(f"no assignment named {name}; there are {', '.join(self.names)}")
        row = -1 if name is None else self.names.index(name)
        return dict(zip(self.samples, self.labels[row].tolist(), strict=True))


def write_samples(folder: str | Path, samples: Sequence[str]) -> None:
    """Write the images' identities; if the file exists already, check that it holds the same.

    Where the identities are the indices "0", "1", ..., only their number N is written.

    Raises:
        ValueError: if the file holds others (a resumed run must see the same images).
    """
    path = Path(folder) / SAMPLES
    if path.exists():
        check_samples(folder, samples)
        return
    is_listed = any(sample != str(index) for index, sample in enumerate(samples))
    with opened_atomically(path) as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write((json.dumps({"n": len(samples), "listed": is_listed}) + "\n").encode("ascii"))
        for sample in samples if is_listed else ():
            packed.write((json.dumps(sample) + "\n").encode("ascii"))


def same_samples(run_folder: str | Path, samples: Sequence[str]) -> bool:
    """Whether a run clustered these images in this order; false if it has no list of them.

    Accents may be written otherwise, as in a folder that was copied from macOS: the order is the same then.

    Raises:
        ValueError: if the run's list is damaged.
    """
    path = Path(run_folder) / FOLDER / SAMPLES
    if not path.is_file() or _n_samples(path) != len(samples):
        return False
    return all(alike(stored, sample) for stored, sample in zip(_stored_samples(path), samples, strict=True))


def write_contents(folder: str | Path, contents: NDArray[np.int64]) -> None:
    """Write what the images hold.

    Args:
        contents: (M, 2) int64, an image's number and a hash of what it holds.
    """
    buffer = io.BytesIO()
    np.save(buffer, contents)
    write_atomically(Path(folder) / CONTENTS, buffer.getbuffer())


def read_contents(run_folder: str | Path) -> NDArray[np.int64] | None:
    """What a run's images held when it began, see :func:`write_contents`; None if that is not known.

    Raises:
        ValueError: if the file is damaged.
    """
    path = Path(run_folder) / FOLDER / CONTENTS
    if not path.is_file():
        return None
    try:
        table: NDArray[np.int64] = np.load(path, allow_pickle=False).reshape(-1, 2)
    except DAMAGED as error:
        raise ValueError(f"{path} is cut or damaged ({error}); delete it to go on without this check") from error
    return table


def changed_images(run_folder: str | Path, contents: NDArray[np.int64]) -> list[int] | None:
    """The numbers of the images that hold something else than when the run began.

    Args:
        contents: of the images now; those are compared that stand in both tables.

    Returns:
        None if it cannot be told: an older version's run.

    Raises:
        ValueError: if the run's file is damaged.
    """
    before = read_contents(run_folder)
    if before is None:
        return None
    both, in_before, in_now = np.intersect1d(before[:, 0], contents[:, 0], return_indices=True)
    differ = before[in_before, 1] != contents[in_now, 1]
    return [int(image) for image in both[differ]] if len(both) else None


def write_assignment(folder: str | Path, name: str, epoch: int, assignment: Assignment) -> None:
    """Write one assignment as folder/name.npz, whole or not at all."""
    labels = assignment.labels.cpu().numpy()
    content = io.BytesIO()
    np.savez_compressed(
        content,
        labels=labels.astype(np.min_scalar_type(-assignment.k if labels.min() < 0 else assignment.k - 1)),
        k=np.int64(assignment.k),
        objective=np.float64(assignment.objective),
        epoch=np.int64(epoch),
    )
    write_atomically(Path(folder) / f"{name}.npz", content.getbuffer())


def read_assignments(run_folder: str | Path, name: str | None = None, *, labeling: int = 0) -> AssignmentHistory:
    """Read a run's assignments, or one of them.

    Args:
        run_folder: the run's folder, or its assignments folder.
        name: "epoch_00003", "final", ...; None: all.
        labeling: which, where images are clustered several times, counted from 0.

    Raises:
        FileNotFoundError: if the folder, its samples, the labeling or the name do not exist.
        ValueError: if a file is damaged; the message names it.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    if (folder / FOLDER).is_dir():
        folder = folder / FOLDER
    if not (folder / SAMPLES).exists():
        raise FileNotFoundError(f"no assignments in {folder}: {SAMPLES} is missing; give the folder of a run")
    samples = list(_stored_samples(folder / SAMPLES))  # of all labelings
    if labeling:
        n_labelings = 1 + len(list(folder.glob("labeling_*")))
        if not (folder / f"labeling_{labeling}").is_dir():
            raise FileNotFoundError(f"no labeling={labeling} in {folder}; there are 0 to {n_labelings - 1}")
        folder = folder / f"labeling_{labeling}"
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"no assignments in {folder} yet")
    if name is not None:
        names = ", ".join(path.stem for path in paths)
        paths = [path for path in paths if path.stem == name]
        if not paths:
            raise FileNotFoundError(f"no assignment named {name} in {folder}; there are {names}")
    assignments = [(path.stem, _read_assignment(path, len(samples))) for path in paths]
    # "final" repeats the last epoch's number and comes after it
    assignments.sort(key=lambda item: (item[1]["epoch"], item[0] == "final", item[0]))
    return AssignmentHistory(
        samples=samples,
        names=[stem for stem, _ in assignments],
        epochs=[content["epoch"] for _, content in assignments],
        labels=np.stack([content["labels"] for _, content in assignments]),
        k=[content["k"] for _, content in assignments],
        objective=[content["objective"] for _, content in assignments],
    )


def _n_samples(path: Path) -> int:
    """The number of samples, which the first line tells."""
    try:
        with gzip.open(path, "rb") as lines:
            return int(json.loads(lines.readline())["n"])
    except DAMAGED as error:
        raise ValueError(f"{path} is cut or damaged ({error})") from error


def _stored_samples(path: Path) -> Iterator[str]:
    """The identities one by one: a list of millions would take much more memory than the file."""
    try:
        with gzip.open(path, "rb") as lines:
            header = json.loads(lines.readline())
            if not header["listed"]:
                yield from (str(index) for index in range(header["n"]))
                return
            n_read = 0
            for line in lines:
                yield json.loads(line)
                n_read += 1
            if n_read != header["n"]:
                raise ValueError(f"{n_read} samples of {header['n']}")
    except DAMAGED as error:
        raise ValueError(f"{path} is cut or damaged ({error})") from error


def _read_assignment(path: Path, n_samples: int) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            labels, k = file["labels"].astype(np.int64), int(file["k"])
            objective, epoch = float(file["objective"]), int(file["epoch"])
    except DAMAGED as error:
        raise ValueError(f"{path} is cut or damaged ({error}); delete it to read the others") from error
    if labels.shape != (n_samples,):
        raise ValueError(f"{path} labels {len(labels)} images, the run's {SAMPLES} lists {n_samples}")
    return {"labels": labels, "k": k, "objective": objective, "epoch": epoch}


def check_samples(folder: str | Path, now: Sequence[str]) -> None:
    """Refuse images that are not those of the file that :func:`write_samples` wrote, if there is one.

    Raises:
        ValueError: naming the first that differs.
    """
    path = Path(folder) / SAMPLES
    if not path.exists():
        return
    for index, (old, new) in enumerate(zip(_stored_samples(path), now, strict=False)):
        if not alike(old, new):
            raise ValueError(
                f"the images are not those of {path}: number {index} was {old!r} and is {new!r}; "
                "a resumed run must see the same images"
            )
    n_before = _n_samples(path)
    if n_before != len(now):
        raise ValueError(
            f"the images are not those of {path}: there were {n_before} and are {len(now)}; "
            "a resumed run must see the same images"
        )
