"""What the first layer's filters do before any training: initial alignment with random and with learned ones.

    python -m benchmarks.first_filters data=parquet data.root=DIR

Initial alignment ("A Deep Dive into Deep Cluster"): NMI of the images' labels with the clusters of the untrained
network's features. By default 20,000 CIFAR-10 images, the small AlexNet without Sobel, PCA to 256, K = 10. Overrides
are those of train.py.
"""

import argparse
import contextlib
import io
import statistics
import time
from pathlib import Path

from hydra import compose, initialize_config_dir

from deepcluster.clustering.metrics import nmi
from deepcluster.run.prepare import prepare
from deepcluster.settings.train import register_schemas, train_config

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SETTINGS = [
    "arch=alexnet_small",
    "arch.sobel=false",
    "data=cifar10",
    "data.limit=20000",
    "clustering.k=10",
    "reduction.dim=256",
]


def initial_alignment(overrides: list[str], seed: int) -> tuple[float, str]:
    """NMI of the labels with the untrained network's clusters, and what the init told."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", [*SETTINGS, *overrides, f"seed={seed}"])
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        parts = prepare(train_config(cfg))
        assignment, _ = parts.clusterer.assign(parts.backbone, device=parts.device, moment="untrained")
    if parts.images.labels is None:
        raise ValueError("initial alignment compares with labels, and these images have none")
    line = next((line for line in told.getvalue().splitlines() if line.startswith("init ")), "init       random")
    return nmi(assignment.labels, parts.images.labels), line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--inits", nargs="+", default=["random", "kmeans_patches"])
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    arguments = parser.parse_args()
    register_schemas()
    for init in arguments.inits:
        started = time.perf_counter()
        found, line = [], ""
        for seed in arguments.seeds:
            alignment, line = initial_alignment([f"init={init}", *arguments.overrides], seed)
            found.append(alignment)
        seconds = (time.perf_counter() - started) / len(found)
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        each = "  ".join(f"{value:.4f}" for value in found)
        alignments = f"{statistics.mean(found):.4f} +- {spread:.4f}   {each}"
        print(f"{line}\n  initial alignment {alignments}   ({seconds:.0f} s a seed)", flush=True)


if __name__ == "__main__":
    main()
