"""Peak memory of one reassignment for growing N, each in a fresh process. cycle.py's --memory prints it.

The peak is that of extraction, reduction and clustering alone. The image set's bytes and the reduced features
(N x P x 4 bytes) are subtracted; with a buffer that is full at every N, the rest must not grow with N. What the
process held when the reassignment began (libraries, network) is also subtracted for the growth that is judged,
because it differs by tens of MB between processes.

This guards what the code needs on a data set at hand; scaling.py shows what millions of images take.
"""

import contextlib
import ctypes
import dataclasses
import gc
import json
import subprocess
import sys
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.settings import ROOT, parse, parser, read_config
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.run.parts import Parts, build_parts
from deepcluster.run.train import silence_libraries
from deepcluster.system.machine import peak_memory, reset_peak_memory, used_memory

TIMES_THE_SET = (0.25, 0.5, 1, 2, 4)  # sizes N, as multiples of the data set; above 1 its images are repeated
# Peaks differ by 5 to 10 MB from process to process, which is 200 bytes over 50,000 images; labels, image numbers
# and k-means' distances take about 60; one more copy of the reduced features would be 4 P, 1024 for P = 256.
TARGET_BYTES_PER_IMAGE = 256
LEAST_RANGE = 50_000  # over fewer images the noise hides the target
MB = 2**20


def measure(overrides: list[str], parts: Parts, sizes: list[int] | None = None) -> list[tuple[str, float, int | None]]:
    """Print a table for a small buffer and one for the buffer of the config.

    Returns:
        For each: its name, growth of the working memory in bytes per image between the two largest N, and the
        target or None where there is none: a buffer that still fills grows, and noise hides small N. Small N tell
        nothing either: there the peak is that of PCA, before the reduced features exist, or of blocks half full.
    """
    p = parts.clusterer.reduction.output_dim(parts.backbone.feature_dim)
    least = max(parts.clusterer.clustering.capacity(1), p)
    sizes = sorted({max(least, n) for n in sizes or (int(share * len(parts.images)) for share in TIMES_THE_SET)})
    bytes_per_feature = parts.backbone.feature_dim * parts.precision.extraction.itemsize
    # Half of what the smallest N would fill, so that every N overflows it
    small = min(16, sizes[0] * bytes_per_feature // 2 // MB)
    default = parts.clusterer.extraction.buffer_mb
    growth: list[tuple[str, float, int | None]] = []
    for buffer_mb, name in ((small, "small buffer"), (default, "default buffer")):
        measured = [_in_fresh_process(n, buffer_mb, overrides) for n in sizes]
        filled = [min(buffer_mb * MB, n * bytes_per_feature) for n in sizes]
        slope = _print_table(f"{name}, {buffer_mb} MiB", sizes, p, measured, filled)
        judged = filled[-1] == filled[-2] and sizes[-1] - sizes[-2] >= LEAST_RANGE
        growth.append((name, slope, TARGET_BYTES_PER_IMAGE if judged else None))
    return growth


def _in_fresh_process(n: int, buffer_mb: int, overrides: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.memory", str(n), "--", *overrides, f"extraction.buffer_mb={buffer_mb}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    print(f"memory     N = {n:,}, buffer {buffer_mb} MiB", file=sys.stderr, flush=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _print_table(title: str, sizes: list[int], p: int, measured: list[dict[str, Any]], filled: list[int]) -> float:
    rest = [f["peak"] - f["data"] - n * p * 4 for n, f in zip(sizes, measured, strict=True)]
    working = [f["peak"] - f["before"] - n * p * 4 for n, f in zip(sizes, measured, strict=True)]
    table = Table(title=f"peak memory of a reassignment, MiB ({title})")
    for column in ("N", "peak", "images", f"N x {p} x 4", "rest", "rest - start", "of it buffer", "(N x D would be)"):
        table.add_column(column, justify="right", no_wrap=True)
    for n, f, left, work, used in zip(sizes, measured, rest, working, filled, strict=True):
        values = (f["peak"], f["data"], n * p * 4, left, work, used, f["features"])
        table.add_row(f"{n:,}", *(f"{value / MB:,.1f}" for value in values))
    console = Console(highlight=False, soft_wrap=True, width=120)
    console.print(table)
    how = "VmHWM, reset before the reassignment" if measured[0]["reset"] else "of the whole process: could not be reset"
    growth = _last_growth(sizes, working)
    console.print(
        f"peak: {how}; bytes per image from N = {sizes[-2]:,} to {sizes[-1]:,}: "
        f"rest {_last_growth(sizes, rest):+,.0f}, rest - start {growth:+,.0f}"
    )
    return growth


def _last_growth(sizes: list[int], values: list[int]) -> float:
    """Per image, from the second largest N to the largest."""
    return (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])


def _take(images: ImageSet, n: int) -> ImageSet:
    """n images, those of the set again and again."""
    rows = [i % len(images) for i in range(n)]
    if isinstance(images, MemoryImages):
        return MemoryImages(images=images.images[torch.tensor(rows)], samples=[images.samples[i] for i in rows])
    taken: ImageSet = images.take(rows)  # type: ignore[attr-defined]  # both sets of files have it
    return taken


def _forget_peak() -> bool:
    """Give back what loading has freed and start the peak anew; False where the kernel does not let us."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return reset_peak_memory()


def _child(n: int, overrides: list[str]) -> dict[str, Any]:
    config = read_config([*overrides, "trainer.max_epochs=1"])
    silence_libraries()
    parts = build_parts(config)
    images = _take(parts.images, n)
    clusterer = dataclasses.replace(parts.clusterer, images=images)
    backbone, device = parts.backbone, parts.device
    element = parts.precision.extraction.itemsize
    del parts
    reset = _forget_peak()
    before = used_memory()
    clusterer.assign(backbone, device=device, moment="benchmark")
    return {
        "peak": peak_memory(),
        "before": before,
        "reset": reset,
        "data": images.images.numel() if isinstance(images, MemoryImages) else 0,
        "features": n * backbone.feature_dim * element,
    }


def main(words: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("n", type=int, help="number of images")
    arguments = parse(options, words)
    print(json.dumps(_child(arguments.n, arguments.overrides)))


if __name__ == "__main__":
    main()
