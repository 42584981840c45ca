"""Whether faiss or torch clusters, and why. Never decided by timing, so the same machine always gives the same."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BACKENDS = ("auto", "faiss", "torch")


def choose_backend(backend: str, device: torch.device | str) -> tuple[str, str]:
    """The engine ("faiss" or "torch") and the reason.

    Args:
        backend: auto, faiss or torch.
        device: where products are taken.

    Raises:
        ValueError: if backend is faiss and it cannot run here.
    """
    kind = str(device).partition(":")[0]  # not torch.device: torch is slow to import
    has_faiss = importlib.util.find_spec("faiss") is not None
    if backend == "torch":
        return "torch", "clustering.backend=torch"
    if backend == "faiss":
        if not has_faiss:
            raise ValueError("clustering.backend=faiss, but faiss is not installed; set clustering.backend=torch")
        if kind == "cuda" and not _faiss_sees_a_gpu():
            raise ValueError("clustering.backend=faiss on a GPU, but faiss sees none; set clustering.backend=torch")
        return "faiss", "clustering.backend=faiss"
    if not has_faiss:
        return "torch", "faiss is not installed"
    if sys.platform == "darwin":
        return "torch", "on macOS torch and faiss each bring their own OpenMP, which crashes"
    if kind == "cpu":
        return "faiss", "faiss is installed and the device is a CPU"
    if kind == "cuda":
        return "torch", "faster than faiss on a GPU"  # benchmarks/gpu_clustering.py
    return "torch", f"faiss does not run on {kind}"


def _faiss_sees_a_gpu() -> bool:
    from deepcluster.clustering import faiss_index

    return faiss_index.n_gpus() > 0
