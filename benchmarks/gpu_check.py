"""All that runs on GPUs, checked against the CPU in one go: for a machine that has one.

    python -m benchmarks.gpu_check            # exit status 0: all passed or were skipped for a stated reason
    python -m benchmarks.gpu_check --cpu      # the same paths on the CPU and gloo: checks this script
    python -m benchmarks.gpu_check --only kmeans

tests/benchmarks/test_gpu_check.py runs the same checks, on the CPU always and on a GPU (mark `gpu`) where there is one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from deepcluster.clustering import faiss_index
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.neighbours import nearest_neighbours
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.reduction import Reduction
from deepcluster.clustering.sinkhorn_clustering import Sinkhorn
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.view_settings import View
from deepcluster.data.views import feature_view
from deepcluster.evaluation.probe.knn_and_probe import measure_features
from deepcluster.evaluation.probe.labelled_split import labelled_split
from deepcluster.evaluation.probe.recipes import Knn, LinearProbe
from deepcluster.features.extraction import FeaturePass, collect, feature_pass, reduced_features
from deepcluster.models.alexnet import SmallAlexNet
from deepcluster.models.coates import Coates
from deepcluster.weights.start import KMeansPatchesInit

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
QUICK = ["data=fashion_mnist_mini", "data.limit=1000", "evaluation.enabled=false", "clustering.k=20"]


class Skipped(Exception):
    """A check that this machine cannot do, with the reason."""


@dataclass(frozen=True)
class Check:
    """One check: a name, what it does on a device, and whether it starts whole runs."""

    name: str
    run: Callable[[torch.device], str]
    whole_run: bool = False


def mixture(n: int = 20_000, dim: int = 32, n_components: int = 60) -> Tensor:
    """(n, dim) unit vectors around n_components centres."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(n_components, dim, generator=generator)
    members = torch.randint(n_components, (n,), generator=generator)
    return normalize(centres[members] + 0.4 * torch.randn(n, dim, generator=generator))


def kmeans(device: torch.device, backend: str, *, shares: bool = False, n: int = 20_000, **settings: Any) -> str:
    """k-means on the device against the same on the CPU: same start, so equal up to the order of additions."""
    if backend == "faiss" and device.type == "cuda" and faiss_index.n_gpus() == 0:
        raise Skipped("faiss sees no GPU: the CPU's wheel is installed")
    return clustered(KMeans(k=60, n_iter=10, backend=backend, **settings), mixture(n), device, shares=shares)


def clustered(settings: Clustering, rows: Tensor, device: torch.device, *, shares: bool = False) -> str:
    """The assignment made on the device against that of the CPU."""
    last = torch.arange(len(rows)) % settings.capacity(len(rows))  # for settings that start at the last labels
    expected = settings.fit(rows, seed=5, start=last)
    there: Assignment
    if shares:
        there = settings.fit_share(rows, n_images=len(rows), ranks=Ranks(), seed=5, device=device, start=last)
    else:
        there = settings.fit(rows, seed=5, device=device, start=last)
    same = float((there.labels == expected.labels).float().mean())
    ratio = there.objective / expected.objective
    assert same > 0.98, f"only {same:.1%} of the labels are those of the CPU"
    assert abs(ratio - 1) < 1e-3, f"objective {ratio:.5f} x that of the CPU"
    return f"{same:.2%} of the labels and {ratio:.6f} of the CPU's objective"


def sinkhorn(device: torch.device) -> str:
    """SeLa's assignment by scores of a head that is fairly sure of itself."""
    return clustered(Sinkhorn(k=32), (10 * mixture(5000)).log_softmax(dim=1), device)


def neighbours(device: torch.device, backend: str) -> str:
    """The nearest neighbours on the device against those on the CPU."""
    if backend == "faiss" and device.type == "cuda" and faiss_index.n_gpus() == 0:
        raise Skipped("faiss sees no GPU: the CPU's wheel is installed")
    features = mixture(n=5000)
    expected, _ = nearest_neighbours(features, 5, backend="torch")
    found, _ = nearest_neighbours(features.to(device), 5, backend=backend)
    same = float((found == expected).mean())
    assert same > 0.999, f"only {same:.2%} of the neighbours are those of the CPU"
    return f"{same:.3%} of the neighbours"


def _pass(device: torch.device, dtype: torch.dtype, images: ImageSet | None = None) -> FeaturePass:
    torch.manual_seed(0)
    backbone = SmallAlexNet(3, feature_dim=64, hidden=64)
    if images is None:
        pixels = torch.randint(0, 256, (512, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
        images = MemoryImages(images=pixels, samples=[f"{i}" for i in range(len(pixels))], labels=None)
    view = feature_view(View(size=32), images, [0.5] * 3, [0.25] * 3)
    return feature_pass(backbone, images, view, batch_size=128, num_workers=0, device=device, dtype=dtype)


def extraction(device: torch.device, dtype: torch.dtype) -> str:
    """Features on the device in a type against float32 on the CPU."""
    indices = torch.arange(512)
    expected = collect(_pass(CPU, torch.float32), indices)
    there = collect(_pass(device, dtype), indices)
    error = float((there - expected).norm() / expected.norm())
    limit = 0.03 if dtype == torch.bfloat16 else 0.005  # float32 convolutions may use TF32
    assert error < limit, f"relative error {error:.2e}, at most {limit}"
    return f"relative error {error:.1e} against float32 on the CPU"


def reduction(device: torch.device) -> str:
    """PCA, whitening and L2 of features from the device against the CPU's."""
    rows = []
    for where in (CPU, device):
        source = _pass(where, torch.float32)
        _, reduced = reduced_features(source, 64, Reduction(dim=8), buffer_mb=1, seed=1)
        assert reduced is not None
        rows.append(reduced.float())
    likeness = cosine_similarity(rows[0], rows[1])
    assert float(likeness.median()) > 0.999, f"median cosine {float(likeness.median()):.4f}"
    return f"median cosine {float(likeness.median()):.6f}"


def patches(device: torch.device) -> str:
    """Coates' network learned and applied on the device against the CPU's, with the same start."""
    pixels = torch.randint(0, 256, (64, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    images = MemoryImages(images=pixels, samples=[f"{i}" for i in range(len(pixels))], labels=None)
    init = KMeansPatchesInit(n_patches=4000, start="noise", n_iter=3)
    card = {"in_channels": 3, "image_size": 16, "resize": 16, "mean": [0.5] * 3, "std": [0.25] * 3}
    features = []
    for where in (CPU, device):
        network = Coates(3, 16, n_filters=40, patch_size=4)
        init.apply(network, card=card, images=images, seed=1, device=where)
        with torch.no_grad():
            features.append(network.to(where)((pixels.float() / 255 - 0.5).div(0.25).to(where)).cpu())
    error = float((features[1] - features[0]).norm() / features[0].norm())
    assert error < 0.02, f"relative error {error:.2e}, at most 0.02"  # a patch between two centroids may go to either
    return f"relative error {error:.1e} of 160 features"


def measured(device: torch.device) -> str:
    """k-NN and probe of untrained features on the device against the CPU's."""
    pixels = torch.randint(0, 256, (600, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels = torch.arange(len(pixels)) % 3
    pixels[:, 0] = (pixels[:, 0] + 60 * labels.view(-1, 1, 1)).clamp(max=255).to(torch.uint8)
    images = MemoryImages(images=pixels, samples=[f"{i}" for i in range(len(pixels))], labels=labels)
    split = labelled_split(images, None, max_images=None, test_share=0.2, seed=1)
    assert split is not None
    probe = LinearProbe(epochs=3)
    cpu, there = (
        measure_features(split, partial(_of, where=where), knn=Knn(), linear_probe=probe, seed=1)
        for where in (CPU, device)
    )
    worst = max(abs(there[name] - cpu[name]) for name in ("knn_accuracy", "linear_probe_accuracy"))
    assert worst <= 0.02, f"{there} on the device, {cpu} on the CPU"
    return (
        f"k-NN {there['knn_accuracy']:.3f} (CPU {cpu['knn_accuracy']:.3f}), probe {there['linear_probe_accuracy']:.3f}"
    )


def _of(images: ImageSet, *, where: torch.device) -> FeaturePass:
    return _pass(where, torch.float32, images)


def training(device: torch.device, *words: str, n_processes: int = 1) -> str:
    """train.py for an epoch and, resumed, for a second one."""
    if device.type == "cuda" and torch.cuda.device_count() < n_processes:
        raise Skipped(f"needs {n_processes} GPUs, there is {torch.cuda.device_count()}")
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        machine = [f"trainer.accelerator={accelerator}", f"trainer.devices={n_processes}"]
        _train([*QUICK, *words, *machine, "trainer.max_epochs=1", f"output_dir={folder}"])
        _train([f"resume={folder}", "trainer.max_epochs=2"])
        summary = json.loads((folder / "summary.json").read_text())
    assert summary["epochs"] == 2 and summary["clusters_used"] == 20, summary
    return f"2 epochs, NMI with the labels {summary['trained']['nmi_labels']:.3f}"


def _train(words: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    command = [sys.executable, str(ROOT / "train.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=1200, check=False)
    assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-600:]}"


CHECKS = [
    Check("kmeans_faiss", lambda device: kmeans(device, "faiss")),
    Check("kmeans_torch", lambda device: kmeans(device, "torch")),
    Check("kmeans_shares_faiss", lambda device: kmeans(device, "faiss", shares=True)),
    Check("kmeans_shares_torch", lambda device: kmeans(device, "torch", shares=True)),
    Check("kmeans_v2", lambda device: kmeans(device, "torch", start="labels", spherical=True, empty="keep")),
    Check("kmeans_balanced", lambda device: kmeans(device, "torch", sizes="balanced", n=3000)),
    Check("sinkhorn", sinkhorn),
    Check("neighbours_faiss", lambda device: neighbours(device, "faiss")),
    Check("neighbours_torch", lambda device: neighbours(device, "torch")),
    Check("extraction_float32", lambda device: extraction(device, torch.float32)),
    Check("extraction_bfloat16", lambda device: extraction(device, torch.bfloat16)),
    Check("reduction", reduction),
    Check("coates_patches", patches),
    Check("probe_and_neighbours", measured),
    Check("training_and_resume", training, whole_run=True),
    Check("process_group_of_one", lambda device: training(device, "trainer=ddp"), whole_run=True),
    Check(
        "two_processes_gather",
        lambda device: training(device, "trainer=ddp", "clustering.parallel=gather", n_processes=2),
        whole_run=True,
    ),
    Check(
        "two_processes_shares",
        lambda device: training(device, "trainer=ddp", "clustering.parallel=shares", n_processes=2),
        whole_run=True,
    ),
    Check("synchronised_batch_norm", lambda device: synchronised(device), whole_run=True),
]


def synchronised(device: torch.device) -> str:
    """Two processes whose BatchNorm takes the batches of both."""
    if device.type != "cuda":
        raise Skipped("PyTorch synchronises BatchNorm on GPUs only")
    return training(device, "trainer=ddp", "+trainer.sync_batchnorm=true", n_processes=2)


def main(words: list[str] | None = None) -> int:
    """Run the checks; the exit status is 0 if none failed, 2 if there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="rehearse on the CPU")
    parser.add_argument("--only", default="", help="those whose name holds this")
    options = parser.parse_args(words)
    if not options.cpu and not torch.cuda.is_available():
        print("no CUDA device here: nothing was checked; --cpu rehearses the same checks on the CPU")
        return 2
    device = CPU if options.cpu else torch.device("cuda", 0)
    _print_machine(device)
    failed = 0
    for check in CHECKS:
        if options.only not in check.name:
            continue
        started = time.perf_counter()
        try:
            outcome, said = "pass", check.run(device)
        except Skipped as reason:
            outcome, said = "skip", str(reason)
        except Exception as error:
            outcome, said = "FAIL", f"{type(error).__name__}: {error}"
            failed += 1
        print(f"{outcome}  {check.name:<24} {time.perf_counter() - started:7.1f} s  {said}", flush=True)
    print(f"{failed} failed" if failed else "none failed")
    return 1 if failed else 0


def _print_machine(device: torch.device) -> None:
    names = ["torch", "torchvision", "pytorch-lightning", "faiss-gpu", "faiss-cpu"]
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    if device.type == "cuda":
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        bf16 = "with bf16" if torch.cuda.is_bf16_supported() else "without bf16"
        print(f"device     {', '.join(gpus)}, CUDA {torch.version.cuda}, {bf16}; faiss sees {faiss_index.n_gpus()}")
    else:
        print(f"device     cpu, {torch.get_num_threads()} threads")
    print("versions   " + ", ".join(f"{name} {number}" for name, number in versions.items()))


if __name__ == "__main__":
    sys.exit(main())
