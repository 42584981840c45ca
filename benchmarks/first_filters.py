"""Initial alignment of the untrained network, with random first filters and with filters learned from patches.

    python -m benchmarks.first_filters -- data=parquet data.root=DIR

Initial alignment ("A Deep Dive into Deep Cluster"): NMI of the images' labels with the clusters of the untrained
network's features. By default 20,000 CIFAR-10 images, the small AlexNet without Sobel, PCA to 256, K = 10. Overrides
are those of train.py.
"""

import contextlib
import io
import statistics
import time

from benchmarks.settings import parse, parser, read_config
from deepcluster.clustering.metrics import nmi
from deepcluster.run.parts import build_parts

SETTINGS = [
    "arch=alexnet_small",
    "arch.sobel=false",
    "data=cifar10",
    "data.limit=20000",
    "clustering.k=10",
    "reduction.dim=256",
]


def initial_alignment(overrides: list[str], seed: int) -> tuple[float, str]:
    """NMI of the labels with the untrained network's clusters, and what the init said of itself."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        parts = build_parts(read_config([*SETTINGS, *overrides, f"seed={seed}"]))
        assignment, _ = parts.clusterer.assign(parts.backbone, device=parts.device, moment="untrained")
    if parts.images.labels is None:
        raise ValueError("initial alignment compares with labels, and these images have none")
    line = next((line for line in said.getvalue().splitlines() if line.startswith("init ")), "init       random")
    return nmi(assignment.labels, parts.images.labels), line


def main(words: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options.add_argument("--inits", nargs="+", default=["random", "kmeans_patches"])
    arguments = parse(options, words)
    for init in arguments.inits:
        started = time.perf_counter()
        alignments, line = [], ""
        for seed in arguments.seeds:
            alignment, line = initial_alignment([f"init={init}", *arguments.overrides], seed)
            alignments.append(alignment)
        seconds = (time.perf_counter() - started) / len(alignments)
        spread = statistics.stdev(alignments) if len(alignments) > 1 else 0.0
        each = "  ".join(f"{value:.4f}" for value in alignments)
        mean = f"{statistics.mean(alignments):.4f} +- {spread:.4f}   {each}"
        print(f"{line}\n  initial alignment {mean}   ({seconds:.0f} s a seed)", flush=True)


if __name__ == "__main__":
    main()
