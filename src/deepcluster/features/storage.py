"""Where the reduced features (N, P) of one reassignment are kept: memory or a mapped file, float32 or float16.

extraction.py fills the tensor that is allocated here, the clustering reads it in blocks.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.system.machine import free_disk, free_memory, in_gb

DTYPES = {"float32": torch.float32, "float16": torch.float16}
SHARE = 0.5  # of the free memory that reduced features may take; clustering and training need the rest
LARGEST_FLOAT16 = 65_504.0
SUFFIX = ".features"


@dataclass(kw_only=True)
class Storage:
    """How reduced features are kept.

    Args:
        dtype: float32, or float16, which is half as large. For whitened rows of length 1 it changes the clusters far
            less than another seed: NMI with float32's clusters .80 to .996, of two seeds .31 to .76 (docs/scaling.md).
        folder: where a mapped file is made; None: in memory.
    """

    dtype: torch.dtype = torch.float32
    folder: Path | None = None

    @property
    def dtype_name(self) -> str:
        """The number type: "float32" or "float16".

        It is chosen when a run starts. A resumed run keeps it: config.yaml and every checkpoint hold it.
        """
        return str(self.dtype).removeprefix("torch.")

    def n_bytes(self, n: int, dim: int) -> int:
        """Size of n rows of `dim` numbers."""
        return n * dim * self.dtype.itemsize

    def describe(self, n: int, dim: int) -> str:
        """The line that is printed at the start of a run."""
        where = "in memory" if self.folder is None else f"in a file mapped from {self.folder}"
        return f"{n:,} x {dim} reduced features in {self.dtype_name}, {in_gb(self.n_bytes(n, dim))}, {where}"

    def allocate(self, n: int, dim: int) -> Tensor:
        """An (n, dim) tensor to fill.

        The mapped file is unlinked at once where the system allows it, so that its space is free as soon as the tensor
        is gone, also after a kill. Elsewhere a file that a kill leaves is removed at the next start.

        Raises:
            OSError: if the disk is too full. The space is reserved here, because writing to a mapped file on a full
                disk would kill the process.
        """
        if self.folder is None or n == 0:
            return torch.empty(n, dim, dtype=self.dtype)
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_left_over(self.folder)
        file = self.folder / f".{socket.gethostname()}-{os.getpid()}{SUFFIX}"
        n_bytes = self.n_bytes(n, dim)
        try:
            _reserve(file, n_bytes)
            mapped = torch.from_file(str(file), shared=True, size=n * dim, dtype=self.dtype)
        except OSError as error:
            message = (
                f"{error.strerror} for {in_gb(n_bytes)} of reduced features; free some, or set extraction.scratch=DIR"
            )
            raise OSError(error.errno, message, str(self.folder)) from error
        finally:
            _unlink(file)
        return mapped.view(n, dim)

    def check(self, features: Tensor) -> None:
        """Refuse reduced features that are too large for float16.

        Raises:
            ValueError: with the way out.
        """
        if self.dtype == torch.float16 and float(features.abs().max()) > LARGEST_FLOAT16:
            raise ValueError(
                f"extraction.store_dtype=float16 holds numbers up to {LARGEST_FLOAT16:,.0f}, a reduced feature is "
                f"{float(features.abs().max()):,.0f}; set extraction.store_dtype=float32, or reduction.l2=true"
            )


def choose_storage(
    store: str,
    store_dtype: str,
    *,
    n: int,
    dim: int,
    unit_length: bool,
    memory_gb: float | None,
    folder: Path,
) -> Storage:
    """Decide by size: float32 in memory if it fits, else float16 in memory, else a mapped file.

    Args:
        store: auto, memory or disk.
        store_dtype: auto, float32 or float16.
        n, dim: N images, P numbers each.
        unit_length: rows have length 1, for which float16 is exact enough; "auto" never chooses it for others.
        memory_gb: memory (1e9 bytes) that they may take; None: half of what is free.
        folder: for the file.

    Raises:
        ValueError: if they fit neither in memory nor on disk; names the keys and the way out.
    """
    free = free_memory()
    room = SHARE * free if memory_gb is None else memory_gb * 1e9
    dtype_names = list(DTYPES) if store_dtype == "auto" else [store_dtype]
    if not unit_length and store_dtype == "auto":
        dtype_names = ["float32"]
    if store != "disk":
        for name in dtype_names:
            storage = Storage(dtype=DTYPES[name])
            if storage.n_bytes(n, dim) <= room:
                return storage
    if store == "memory":
        least = Storage(dtype=DTYPES[dtype_names[-1]])
        limit = (
            f"half of the {in_gb(free)} that are free" if memory_gb is None else f"extraction.memory_gb={memory_gb:g}"
        )
        raise ValueError(
            f"extraction.store=memory: {n:,} x {dim} reduced features take {in_gb(least.n_bytes(n, dim))} at least, "
            f"more than {limit}; set extraction.store=disk, or lower reduction.dim"
            + ("" if memory_gb is None else ", or raise extraction.memory_gb")
        )
    # store=disk keeps float32. What goes to disk for lack of memory takes the smallest type allowed: it is read faster.
    storage = Storage(dtype=DTYPES[dtype_names[0 if store == "disk" else -1]], folder=folder)
    free_there = free_disk(folder)
    if storage.n_bytes(n, dim) > free_there:
        raise ValueError(
            f"{storage.describe(n, dim)}, where {in_gb(free_there)} are free; free some, name another folder with "
            "extraction.scratch=DIR, or lower reduction.dim"
        )
    return storage


def remove_left_over(folder: Path) -> None:
    """Remove files that dead processes of this machine left here."""
    host = socket.gethostname()
    for file in folder.glob(f".{host}-*{SUFFIX}"):
        pid = file.name.removeprefix(f".{host}-").removesuffix(SUFFIX)
        if pid.isdigit() and not _is_running(int(pid)):
            _unlink(file)


def _reserve(file: Path, n_bytes: int) -> None:
    """Create the file and reserve its space on the disk."""
    with file.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, n_bytes)
        else:
            zeros = bytes(2**20)
            for start in range(0, n_bytes, len(zeros)):
                stream.write(zeros[: n_bytes - start])


def _unlink(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:  # this system cannot unlink a mapped file: remove_left_over does it next time
        return


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
