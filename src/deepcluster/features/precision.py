"""Choose the number type in which this machine computes fast, from what its processor supports."""

import platform
from dataclasses import dataclass

import torch

from deepcluster.system.processor import keeps_float32, vendor_and_flags


@dataclass(kw_only=True)
class Precision:
    """A choice of precision.

    Args:
        trainer: Lightning's name for it ("bf16-mixed", "32-true").
        extraction: number type of the frozen copy that extracts features.
        reason: why it was chosen; printed at the start of a run.
    """

    trainer: str
    extraction: torch.dtype
    reason: str


def choose_precision(requested: str, device: torch.device) -> Precision:
    """The precision on a device, as requested: "auto" or one of Lightning's names.

    bf16 is faster where the processor computes in it (docs/speed.md) and slower than fp32 where it is emulated.
    """
    if requested != "auto":
        extraction = torch.bfloat16 if requested.startswith("bf16") else torch.float32
        return Precision(trainer=requested, extraction=extraction, reason="set by trainer.precision")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return Precision(trainer="bf16-mixed", extraction=torch.bfloat16, reason="the GPU computes in bf16")
        return Precision(trainer="32-true", extraction=torch.float32, reason="the GPU has no bf16 units")
    _, flags = vendor_and_flags()
    bf16_units = [name for name in ("amx_bf16", "avx512_bf16") if name in flags]
    if device.type == "cpu" and bf16_units:
        return Precision(
            trainer="bf16-mixed",
            extraction=torch.bfloat16,
            reason=f"the processor computes in bf16 ({bf16_units[0]})",
        )
    name = platform.machine() if device.type == "cpu" else device.type
    return Precision(trainer="32-true", extraction=torch.float32, reason=f"no bf16 units known on {name}")


def set_matmul_precision(device: torch.device) -> None:
    """Allow faster float32 products where they are exact enough for training.

    On a GPU this is TF32. On AMD with AVX-512 it makes torch use oneDNN instead of MKL, which is twice as fast and as
    exact. Elsewhere nothing changes. The clustering sets its own precision (system/processor.py).
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    elif device.type == "cpu" and keeps_float32(*vendor_and_flags()):
        torch.set_float32_matmul_precision("medium")
