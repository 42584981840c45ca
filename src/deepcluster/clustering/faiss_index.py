"""How faiss is imported, and its exact index over torch tensors on a CPU or GPU. No other file imports faiss."""

import importlib
import os
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from deepcluster.system.processor import openblas_core, vendor_and_flags

GPU_SCRATCH_BYTES = 256 * 2**20  # faiss's default is 18 % of the GPU's memory, which the training needs


def load_faiss() -> ModuleType:
    """Import faiss after torch, with the right kernels for its OpenBLAS. In a forked worker this would hang."""
    core = openblas_core(*vendor_and_flags())
    if core is None or "OPENBLAS_CORETYPE" in os.environ:
        import faiss

        return faiss
    os.environ["OPENBLAS_CORETYPE"] = core  # read once, when the library is loaded
    try:
        import faiss
    finally:
        del os.environ["OPENBLAS_CORETYPE"]  # child processes load other libraries
    return faiss


def n_gpus() -> int:
    """The number of GPUs that faiss sees; 0 for a build without GPU support."""
    return int(load_faiss().get_num_gpus())


class FlatIndex:
    """Exact search by squared distance. On a GPU, tensors stay there: nothing goes through the CPU.

    Args:
        dim: numbers P in a row.
        device: where rows and queries are, and where the search runs.
    """

    def __init__(self, dim: int, device: torch.device) -> None:
        faiss = load_faiss()
        importlib.import_module("faiss.contrib.torch_utils")  # lets faiss's indexes take tensors
        self._index: Any
        if device.type == "cuda":
            resources = faiss.StandardGpuResources()  # the index keeps it alive
            resources.setTempMemory(GPU_SCRATCH_BYTES)
            config = faiss.GpuIndexFlatConfig()
            config.device = device.index or 0
            self._index = faiss.GpuIndexFlatL2(resources, dim, config)
        else:
            self._index = faiss.IndexFlatL2(dim)

    def fill(self, rows: Tensor) -> None:
        """Search among these rows (M, P) float32 from now on."""
        self._index.reset()
        self._index.add(rows.contiguous())

    def search(self, queries: Tensor, n: int) -> Tensor:
        """The n nearest rows of each query (B, P) float32, nearest first: (B, n) int64, on the device."""
        nearest: Tensor = self._index.search(queries.contiguous(), n)[1]
        return nearest
