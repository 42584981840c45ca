"""faiss against torch on a GPU: k-means, and the neighbour search of power iteration clustering.

    python -m benchmarks.gpu_clustering                # 50,000 x 256 with K = 1,000; ImageNet's 1.28 M with K = 10,000
    python -m benchmarks.gpu_clustering --rounds 5

Both engines take turns, each round is printed as a ratio, and the objectives must agree: they start from other images.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.neighbours import nearest_neighbours

SIZES = [(50_000, 256, 1_000), (1_281_167, 256, 10_000)]
N_NEIGHBOURS = [50_000, 200_000]
N_ITER = 20  # the 2018 code


def mixture(n: int, dim: int, k: int, device: torch.device) -> Tensor:
    """(n, dim) unit vectors around k centres, on the CPU: where reduced features wait for their clustering."""
    random = torch.Generator(device=device).manual_seed(1)
    centres = torch.randn(k, dim, generator=random, device=device)
    members = torch.randint(k, (n,), generator=random, device=device)
    return normalize(centres[members] + torch.randn(n, dim, generator=random, device=device)).cpu()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="after one that is not counted")
    parser.add_argument("--cpu", action="store_true", help="rehearse on the CPU with a tenth of 50,000 images")
    options = parser.parse_args()
    device = torch.device("cpu" if options.cpu else "cuda")
    sizes = [(5_000, 64, 100)] if options.cpu else SIZES
    for n, dim, k in sizes:
        features = mixture(n, dim, k, device)
        objectives = {}
        for number in range(options.rounds + 1):
            took = {}
            for backend in ("faiss", "torch"):
                settings = KMeans(k=k, n_iter=N_ITER, backend=backend)

                def work() -> None:
                    objectives[backend] = settings.fit(features, seed=1, device=device).objective  # noqa: B023

                took[backend] = seconds(work, device)
            tell(f"k-means {n:,} x {dim}, K = {k:,}", took, number)
        print(f"{'':<34} objective of torch / faiss {objectives['torch'] / objectives['faiss']:.4f}", flush=True)
    for n in [2_000] if options.cpu else N_NEIGHBOURS:
        features = mixture(n, 256, 1_000, device).to(device)
        for number in range(options.rounds + 1):
            took = {
                backend: seconds(lambda: nearest_neighbours(features, 5, backend=backend), device)  # noqa: B023
                for backend in ("faiss", "torch")
            }
            tell(f"5 neighbours of {n:,} x 256", took, number)


def tell(what: str, took: dict[str, float], number: int) -> None:
    if number > 0:
        ratio = took["faiss"] / took["torch"]
        print(f"{what:<34} faiss {took['faiss']:7.2f} s  torch {took['torch']:7.2f} s  ratio {ratio:5.1f}", flush=True)


if __name__ == "__main__":
    main()
