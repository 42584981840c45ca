"""How to multiply float32 matrices exactly and fast on a processor or GPU, and how many rows at a time."""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch

# Instructions of OpenBLAS's SkylakeX kernels.
SKYLAKEX_FLAGS = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})


@lru_cache(maxsize=1)
def vendor_and_flags() -> tuple[str, frozenset[str]]:
    """The processor's vendor and its instruction sets, from /proc/cpuinfo; empty where there is none."""
    vendor, flags = "", frozenset[str]()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "vendor_id":
                vendor = value.strip()
            elif key.strip() == "flags":
                flags = frozenset(value.split())
                break
    return vendor, flags


def rows_per_block(numbers_per_row: int, device: torch.device, *, on_cpu: int, on_gpu: int) -> int:
    """The number of rows to work on at a time, at least 1.

    Args:
        numbers_per_row: how many numbers, such as scores, the work computes for a row.
        on_cpu, on_gpu: how many numbers to have in memory at a time; a GPU is fastest with few large products.
    """
    return max(1, (on_gpu if device.type == "cuda" else on_cpu) // numbers_per_row)


def has_room(device: torch.device, n_bytes: int, share: float) -> bool:
    """Whether n_bytes take at most this share of a GPU's free memory; True for other devices."""
    return device.type != "cuda" or n_bytes <= share * torch.cuda.mem_get_info(device)[0]


def openblas_core(vendor: str, flags: frozenset[str]) -> str | None:
    """The OPENBLAS_CORETYPE for faiss's OpenBLAS 0.3.15, or None where it chooses well by itself.

    It does not know AMD's AVX-512 processors and takes "Barcelona" for them: 50k x 1000 x 256 takes 0.39 s,
    with SkylakeX 0.08 s (Zen 5). On Intel it chooses SkylakeX by itself, and a name that it does not know
    ("Sapphirerapids", "Cooperlake") would make it ten times slower.
    """
    return "SkylakeX" if vendor == "AuthenticAMD" and flags >= SKYLAKEX_FLAGS else None


def keeps_float32(vendor: str, flags: frozenset[str]) -> bool:
    """Whether torch's 'medium' precision still multiplies in float32 on this CPU.

    True on AMD with AVX-512 and without AMX: twice as fast as MKL there, with a relative error of 6e-7.
    With AMX it really multiplies in bfloat16: relative error 1.7e-3, measured on a Sapphire Rapids.
    """
    return vendor == "AuthenticAMD" and "avx512f" in flags and "amx_bf16" not in flags


@contextlib.contextmanager
def float32_products(device: torch.device) -> Iterator[None]:
    """Within this context float32 matrices are multiplied in float32, whatever autocast or precision training uses.

    Whitening magnifies the small directions of the covariance, so products rounded to bfloat16 or TF32 would change
    the clusters.
    """
    precision = "medium" if device.type == "cpu" and keeps_float32(*vendor_and_flags()) else "highest"
    with torch.autocast(device.type, enabled=False), _precision(precision):
        yield


@contextlib.contextmanager
def _precision(precision: str) -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller has set a precision per backend (torch >= 2.9)
        mkldnn = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # there, but not in torch's stubs
        matmuls = [mkldnn, torch.backends.cuda.matmul]
        precisions = [matmul.fp32_precision for matmul in matmuls]
        for matmul in matmuls:
            matmul.fp32_precision = "ieee"
        try:
            yield
        finally:
            for matmul, precision in zip(matmuls, precisions, strict=True):
                matmul.fp32_precision = precision
        return
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
