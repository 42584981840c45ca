"""Memory and disk in bytes: what is free, and what this process uses."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

GB = 1e9
# Files with a container's limit and use, in both versions of Linux's control groups. A run that went by the machine's
# memory alone would take more than its container has, and the kernel would kill it.
CGROUPS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that can be used without swapping; half of the machine's where the system does not tell.

    Args:
        proc, cgroup: folders in which the kernel tells it.
    """
    free = []
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration):
        free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 2**32)
    for folder, (_, limit, used, cache) in _groups(proc, cgroup):
        try:
            limit_bytes, used_bytes = int((folder / limit).read_text()), int((folder / used).read_text())
            numbers = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            free.append(limit_bytes - used_bytes + int(numbers[cache]))  # the kernel frees the file cache when needed
        except (OSError, ValueError, KeyError):  # "max", or no such group
            continue
    return max(0, min(free))


def used_memory() -> int:
    """Resident memory of this process; 0 where /proc does not tell."""
    return _status("VmRSS")


def peak_memory() -> int:
    """The largest :func:`used_memory` since :func:`reset_peak_memory` or the start; 0 where /proc does not tell."""
    return _status("VmHWM")


def reset_peak_memory() -> bool:
    """Measure :func:`peak_memory` from now on; False where the kernel does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def free_shared_memory(folder: Path = Path("/dev/shm")) -> int | None:
    """Bytes of memory that processes can still share, 64 MB in a container by default; None where it is not told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def free_disk(folder: Path) -> int:
    """Bytes that can be written to the folder; if it does not exist, to the nearest existing folder above."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def in_gb(n_bytes: float) -> str:
    """A number of bytes as text, in GB or MB."""
    return f"{n_bytes / GB:,.1f} GB" if n_bytes >= GB / 10 else f"{n_bytes / 1e6:,.0f} MB"


def _groups(proc: Path, cgroup: Path) -> Iterator[tuple[Path, tuple[str, str, str, str]]]:
    """The control groups of this process and all above them: SLURM sets a job's limit in a group between."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for names in CGROUPS:
        yield cgroup / names[0], names
        for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
            if names[0] in controllers.split(","):  # in version 2 both are empty
                own = Path(path.strip("/"))
                yield from ((cgroup / names[0] / group, names) for group in (own, *own.parents) if group != Path())


def _status(name: str) -> int:
    """A number of /proc/self/status, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
