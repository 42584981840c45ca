"""Seconds of power iteration clustering by part, on a mixture of unit vectors: the neighbour search, and the rest.

    OMP_NUM_THREADS=1 python -m benchmarks.pic
    OMP_NUM_THREADS=2 python -m benchmarks.pic --images 20000 --dim 64 --rounds 5

The rest is what the 2018 code does in Python loops. Seconds of a shared machine drift: their median and range over
the rounds are printed, and the process's own CPU seconds, which waiting for others does not lengthen.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering.backend import choose_backend
from deepcluster.clustering.neighbours import nearest_neighbours
from deepcluster.clustering.pic import PIC


def mixture(n_images: int, dim: int, n_components: int, spread: float) -> Tensor:
    """Unit vectors around random centres; spread 0.05 gives squared distances of about 0.7, as trained networks do."""
    generator = torch.Generator().manual_seed(1)
    centres = normalize(torch.randn(n_components, dim, generator=generator))
    members = torch.randint(n_components, (n_images,), generator=generator)
    return normalize(centres[members] + spread * torch.randn(n_images, dim, generator=generator))


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """The result, and the seconds by the clock and by the processor."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, (time.perf_counter() - clock, time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--components", type=int, default=1000)
    parser.add_argument("--spread", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    features = mixture(arguments.images, arguments.dim, arguments.components, arguments.spread)
    settings = PIC()
    backend, _ = choose_backend(settings.backend, "cpu")
    seconds: dict[str, list[tuple[float, float]]] = {"neighbour search": [], "the rest": []}
    for _ in range(arguments.rounds):
        graph, spent = timed(partial(nearest_neighbours, features, settings.n_neighbours, backend=backend))
        seconds["neighbour search"].append(spent)
        assignment, spent = timed(partial(settings.cluster, features, *graph))
        seconds["the rest"].append(spent)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    title = f"{arguments.images:,} images, {arguments.dim} dimensions, {backend}, OMP_NUM_THREADS={threads}"
    table = Table(title=title)
    for column in ("", "seconds, median (range)", "CPU seconds, median (range)"):
        table.add_column(column, no_wrap=True)
    for part, rounds in seconds.items():
        cells = [f"{statistics.median(x):.2f} ({min(x):.2f} to {max(x):.2f})" for x in zip(*rounds, strict=True)]
        table.add_row(part, *cells)
    Console().print(table)
    first, last = np.median(graph[1][:, 0]), np.median(graph[1][:, -1])
    print(f"K = {assignment.k:,}; median squared distance to the nearest {first:.2f}, to the last neighbour {last:.2f}")


if __name__ == "__main__":
    main()
