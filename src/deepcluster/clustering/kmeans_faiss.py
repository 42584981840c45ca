"""Lloyd iterations by faiss (CPU or GPU), the engine of the 2018 code. Next: kmeans.py assigns the images."""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepcluster.clustering.assignment import ROWS_PER_BLOCK
from deepcluster.clustering.processor import openblas_core, vendor_and_flags

ALL_POINTS = 10_000_000  # original: clustering.py, run_kmeans, max_points_per_centroid
GPU_SCRATCH_BYTES = 256 * 2**20  # faiss's default is 18 % of the GPU's memory, which the training needs


def load_faiss() -> ModuleType:
    """Import faiss: late, after torch, its OpenBLAS well advised. Never in a forked worker (a hang)."""
    core = openblas_core(*vendor_and_flags())
    if core is None or "OPENBLAS_CORETYPE" in os.environ:
        import faiss

        return faiss
    os.environ["OPENBLAS_CORETYPE"] = core  # read once, when the library is loaded
    try:
        import faiss
    finally:
        del os.environ["OPENBLAS_CORETYPE"]  # it is advice for faiss's library, not for child processes
    return faiss


def n_gpus() -> int:
    """The number of GPUs that faiss sees; 0 for a build without GPU support."""
    return int(load_faiss().get_num_gpus())


def lloyd(
    features: Tensor,
    k: int,
    *,
    n_iter: int,
    seed: int,
    spherical: bool = False,
    max_points_per_centroid: int | None = None,
    progress: Callable[[int], None] | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Centroids (K, P), float32, on `device` (None: that of the features), after n_iter iterations on features (N, P).

    faiss is asked for one iteration at a time, each starting from the last one's centroids, so that progress
    can be told. This gives the centroids of n_iter at once (a test checks it), with the early stop of faiss
    >= 1.14 off, as in 2018. Inside the iterations faiss fills an empty cluster with a perturbed copy of a
    populated centroid.

    A subsample is taken once and in float32. All images are iterated on where they are, without a copy: float16 by
    faiss's codec, which decodes them in blocks.
    """
    faiss = load_faiss()
    device = features.device if device is None else device
    if max_points_per_centroid is not None and len(features) > k * max_points_per_centroid:
        features = _subsample(faiss, features, k * max_points_per_centroid, seed)
    numbers = features.cpu().numpy()
    index = flat_index(faiss, features.shape[1], device)
    codec = faiss.IndexScalarQuantizer(features.shape[1], faiss.ScalarQuantizer.QT_fp16)
    centroids: np.ndarray[Any, np.dtype[np.float32]] | None = None
    for iteration in range(n_iter):
        clustering = faiss.Clustering(features.shape[1], k)
        clustering.niter = 1
        clustering.seed = seed % 2**31  # a C int
        clustering.spherical = spherical
        clustering.max_points_per_centroid = ALL_POINTS
        clustering.min_points_per_centroid = 1  # only a warning hangs on it
        if centroids is not None:
            faiss.copy_array_to_vector(centroids.ravel(), clustering.centroids)
        if numbers.dtype == np.float16:
            clustering.train_encoded(numbers.view(np.uint8), codec, index)
        else:
            clustering.train(numbers, index)
        centroids = faiss.vector_to_array(clustering.centroids).reshape(k, features.shape[1])
        if progress is not None:
            progress(iteration + 1)
    return torch.from_numpy(centroids).to(device)


def _subsample(faiss: ModuleType, features: Tensor, n: int, seed: int) -> Tensor:
    """The n images that faiss itself would take with this seed, in its order, float32."""
    order = np.empty(len(features), dtype=np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), len(features), seed % 2**31)
    chosen = torch.from_numpy(order[:n].astype(np.int64))
    sample = torch.empty(n, features.shape[1])
    for start in range(0, n, ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        sample[block] = features[chosen[block].to(features.device)].cpu()
    return sample


def flat_index(faiss: ModuleType, dim: int, device: torch.device) -> Any:
    """An exact index by squared distance, empty, on the device."""
    if device.type != "cuda":
        return faiss.IndexFlatL2(dim)
    resources = faiss.StandardGpuResources()  # the index keeps it alive
    resources.setTempMemory(GPU_SCRATCH_BYTES)
    config = faiss.GpuIndexFlatConfig()
    config.device = device.index or 0
    return faiss.GpuIndexFlatL2(resources, dim, config)
