"""What this processor needs for right and fast float32 products; reduction.py and kmeans*.py multiply so."""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch

# What OpenBLAS's SkylakeX kernels use.
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


def openblas_core(vendor: str, flags: frozenset[str]) -> str | None:
    """The OPENBLAS_CORETYPE to tell faiss's OpenBLAS 0.3.15, or None where it finds out by itself.

    It does not know AMD's AVX-512 processors and falls back to "Barcelona": 50k x 1000 x 256 takes 0.39 s,
    with SkylakeX 0.08 s (Zen 5, SPEED.md 0b.1). On Intel it chooses SkylakeX unasked, and a name that it does
    not know ("Sapphirerapids", "Cooperlake") makes it ten times slower: so nothing is set there.
    """
    return "SkylakeX" if vendor == "AuthenticAMD" and flags >= SKYLAKEX_FLAGS else None


def keeps_float32(vendor: str, flags: frozenset[str]) -> bool:
    """Whether torch's 'medium' precision still multiplies in float32 on this CPU.

    True on AMD with AVX-512 and without AMX: twice as fast as MKL there, relative error 6e-7 (SPEED.md 0b.2).
    With AMX it really multiplies in bfloat16: relative error 1.7e-3, measured on a Sapphire Rapids.
    """
    return vendor == "AuthenticAMD" and "avx512f" in flags and "amx_bf16" not in flags


@contextlib.contextmanager
def float32_products(device: torch.device) -> Iterator[None]:
    """Multiply float32 matrices in float32 here, whatever autocast or precision the training run has set.

    Whitening magnifies the small directions of the covariance, so products rounded to bfloat16 or TF32 would
    change the clusters.
    """
    wanted = "medium" if device.type == "cpu" and keeps_float32(*vendor_and_flags()) else "highest"
    with torch.autocast(device.type, enabled=False), _precision(wanted):
        yield


@contextlib.contextmanager
def _precision(wanted: str) -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller uses torch >= 2.9's setting per backend, which forbids the old question
        mkldnn = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # there, but not in torch's stubs
        matmuls = [mkldnn, torch.backends.cuda.matmul]
        kept = [matmul.fp32_precision for matmul in matmuls]
        for matmul in matmuls:
            matmul.fp32_precision = "ieee"
        try:
            yield
        finally:
            for matmul, precision in zip(matmuls, kept, strict=True):
                matmul.fp32_precision = precision
        return
    torch.set_float32_matmul_precision(wanted)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
