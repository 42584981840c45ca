"""Sum, gather and broadcast tensors over G processes. A single process gets its own tensors back."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deepcluster.system import distributed


def sum_over_ranks(tensors: list[Tensor]) -> list[Tensor]:
    """Each tensor summed over the ranks, on every rank."""
    if distributed.world_size() == 1:
        return tensors
    summed = [tensor.to(_wire_device()).contiguous() for tensor in tensors]
    for tensor in summed:
        dist.all_reduce(tensor)
    return [after.to(before.device) for after, before in zip(summed, tensors, strict=True)]


def gather_interleaved(rows: Tensor, n_rows: int) -> Tensor | None:
    """Gather rows (n_local, P), which each rank has of ``[rank::G]``, as (n_rows, P) on rank 0; others get None."""
    size = distributed.world_size()
    if size == 1:
        return rows
    longest = -(-n_rows // size)
    padded = torch.zeros((longest, *rows.shape[1:]), dtype=rows.dtype, device=_wire_device())
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(size)] if distributed.rank() == 0 else None
    dist.gather(padded, parts, dst=0)
    if parts is None:
        return None
    return torch.stack(parts, dim=1).flatten(0, 1)[:n_rows].cpu()


def broadcast_buffers(module: nn.Module) -> None:
    """Copy rank 0's buffers to every rank: while training, BatchNorm's running statistics differ between ranks."""
    if distributed.world_size() == 1:
        return
    with torch.no_grad():
        for buffer in module.buffers():
            wire = buffer.to(_wire_device()).contiguous()
            dist.broadcast(wire, src=0)
            buffer.copy_(wire)


def _wire_device() -> torch.device:
    """The device of the tensors that the process group's backend sends."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
