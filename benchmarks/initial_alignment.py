"""Initial alignment: how well clusters of an untrained network's features fit the labels.

"A Deep Dive into Deep Cluster" chooses K and PCA by its median:

    python -m benchmarks.initial_alignment --k 5 10 20 200 --dim 0 40 60 -- experiment=deepdive_fmnist \\
        data=fashion_mnist_mini

prints NMI (arithmetic) between the labels and the clusters of a random network's features, for each K and number of
dimensions (0: no PCA): median (lowest, highest) over the seeds, each with its own network.
"""

import argparse
import contextlib
import dataclasses
import io
import statistics
from pathlib import Path

from hydra import compose, initialize_config_dir

from deepcluster import config as configuration
from deepcluster import run
from deepcluster.clustering import metrics
from deepcluster.clustering.kmeans import KMeans

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def alignments(config: configuration.TrainConfig, ks: list[int], dims: list[int]) -> dict[tuple[int, int], float]:
    """NMI by (dim, k) of one random network, that of config.seed."""
    found = {}
    for dim in dims:
        changed = {"dim": dim, "whiten": True} if dim else {"dim": None, "whiten": False}
        reduction = dataclasses.replace(config.reduction, **changed)
        for k in ks:
            chosen = dataclasses.replace(config, reduction=reduction, clustering=KMeans(k=k))
            with contextlib.redirect_stdout(io.StringIO()):
                parts = run.prepare(chosen)
            assert parts.images.labels is not None, "initial alignment needs labels"
            assignment, _ = parts.clusterer.assign(parts.backbone, device=parts.device, moment="untrained")
            found[dim, k] = metrics.nmi(assignment.labels, parts.images.labels)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, nargs="+", required=True)
    parser.add_argument("--dim", type=int, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=10, help="random networks")
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    arguments = parser.parse_args()
    configuration.register()
    found = []
    for seed in range(arguments.seeds):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("train", [*arguments.overrides, f"seed={seed}"])
        found.append(alignments(configuration.settings(cfg), arguments.k, arguments.dim))
    for dim in arguments.dim:
        cells = []
        for k in arguments.k:
            values = [one[dim, k] for one in found]
            cells.append(f"{statistics.median(values):.3f} ({min(values):.3f}, {max(values):.3f})")
        print(f"| {f'PCA {dim}' if dim else 'no PCA'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
