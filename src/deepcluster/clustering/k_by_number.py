"""What the number of images alone says of K: the K to take, and how finely a scan may cut. Next: k_scan.py.

Read without importing torch.
"""

import math

PER_ROOT = 1.2  # K = 1.2 times the root of N: about 50 clusters of 30 images of 1,500
MOST_BY_NUMBER = 1000

N_RUNS = 3  # pairs of halves
MOST_ROWS = 5000  # of a scan
LEAST_ROWS = 64
MOST_CLUSTERS, ROWS_PER_CLUSTER = 256, 8  # of a half
N_ITER = 10  # more iterations of its k-means change nothing that can be seen


def k_by_number(n: int) -> int:
    """K for n images of which nothing is known: groups to look at, several times the kinds that one would name."""
    k = max(2, min(round(PER_ROOT * math.sqrt(n)), MOST_BY_NUMBER, n // 2))
    step = 1 if k < 20 else 5 if k < 100 else 10
    return k // step * step


def clusters_of_half(n: int) -> int:
    """The clusters into which half of n rows is cut: the most groups that a scan of them can find; 0: too few rows."""
    n = min(n, MOST_ROWS)
    return 0 if n < LEAST_ROWS else min(MOST_CLUSTERS, n // 2 // ROWS_PER_CLUSTER)


def most_k(n: int) -> int:
    """The largest K that may be chosen for n images."""
    return max(k_by_number(n), clusters_of_half(n))


def n_distances(n: int, *, by_graph: bool) -> float:
    """The distances that a scan computes for n images."""
    half = min(n, MOST_ROWS) / 2
    return 2 * N_RUNS * half * (N_ITER * clusters_of_half(n) + (2 * half if by_graph else clusters_of_half(n)))
