"""Let the C library keep freed memory for the next batch, in place of giving it back to the system each time."""

import ctypes
import os
import platform

# glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
MOST_KEPT = 512 * 2**20  # bytes of free memory at the heap's end
LARGEST_KEPT = 128 * 2**20  # bytes: what is larger goes back to the system when it is freed
USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")  # read by glibc


def keep_freed_memory() -> bool:
    """Keep freed memory in this process; False where that is not possible, or the user's own settings stand.

    By default a batch's maps of some megabytes are new pages, which the system clears first: two fifths of the time of
    LeNet's pass for features, a sixth of small AlexNet's. The peak of a run's memory stays the same, as its largest
    moment decides; between two such moments the process holds up to 512 MB more than it uses.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in USERS_OWN):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT), mallopt(M_TRIM_THRESHOLD, MOST_KEPT)])
