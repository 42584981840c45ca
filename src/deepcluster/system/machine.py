"""What this machine has free: memory and disk, in bytes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

GB = 1e9
# A container's limit and what it uses, in both versions of Linux's control groups. By the machine's memory alone a
# run would take more than its container has, and the kernel would end it.
CGROUPS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that can be taken without swapping; half of the machine's where nothing tells."""
    free = []
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration):
        free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 2**32)
    for folder, (_, limit, used, cache) in _groups(proc, cgroup):
        try:
            most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
            numbers = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            free.append(most - taken + int(numbers[cache]))  # the file cache gives way
        except (OSError, ValueError, KeyError):  # "max", or no such group
            continue
    return max(0, min(free))


def used_memory() -> int:
    """What this process holds now (resident); 0 where it cannot be asked."""
    return _status("VmRSS")


def peak_memory() -> int:
    """The most that this process has held since :func:`forget_peak`, or since its start; 0 where it cannot be asked."""
    return _status("VmHWM")


def forget_peak() -> bool:
    """Start the peak anew; False where the kernel does not let us."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def free_disk(folder: Path) -> int:
    """Bytes that can be written in the folder, or in the nearest of those above it that exists."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def size(n_bytes: float) -> str:
    """Bytes as people read them."""
    return f"{n_bytes / GB:,.1f} GB" if n_bytes >= GB / 10 else f"{n_bytes / 1e6:,.0f} MB"


def _groups(proc: Path, cgroup: Path) -> Iterator[tuple[Path, tuple[str, str, str, str]]]:
    """The control groups that this process is in, and those above them: SLURM limits a job's, not the root's."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for names in CGROUPS:
        yield cgroup / names[0], names
        for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
            if names[0] in controllers.split(","):  # version 2 has none
                own = Path(path.strip("/"))
                yield from ((cgroup / names[0] / group, names) for group in (own, *own.parents) if group != Path())


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
