"""Writes the files of evaluation=export, each in the format of another program."""

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

import torch

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.system.atomic import save_atomically, write_atomically
from deepcluster.weights import layouts, onnx_file, released
from deepcluster.weights.checkpoint import load_checkpoint
from deepcluster.weights.exported import write_exported
from deepcluster.weights.recognise import Weights


@dataclass(kw_only=True)
class ExportedFile:
    """A written file: its format, a note for the user, numbers for results.json."""

    format: str
    path: Path
    note: str
    numbers: dict[str, float] = field(default_factory=dict)


def exported_files(
    context: EvaluationContext, formats: Set[str], *, official_module: bool, labeling: int = 0
) -> list[ExportedFile]:
    """Write the backbone in these formats, see :class:`Export`.

    Args:
        labeling: that of the context's clusters and head.

    Raises:
        ImportError: if a format needs an extra that is missing.
        ValueError: if the network cannot be written in a format; raised before the first file is written.
    """
    backbone, card = context.backbone, context.card
    # formats that may refuse the network come first, so that no file is written in vain
    arch = released.check_readable_2018(backbone, card) if "official" in formats else ""
    graph, difference = onnx_file.to_onnx(backbone, card) if "onnx" in formats else (b"", 0.0)
    files = []
    if "safetensors" in formats:
        path = write_exported(context.folder, backbone, card, epoch=context.stored.epoch)
        note = f"and {path.stem}.json: {backbone.feature_dim} features"
        files.append(ExportedFile(format="safetensors", path=path, note=note))
    if "torchvision" in formats:
        files.append(_torchvision(context))
    if "official" in formats:
        files.append(_official(context, arch, module=official_module, labeling=labeling))
    if "onnx" in formats:
        path = context.folder / "backbone.onnx"
        write_atomically(path, graph)
        note = f"input: uint8 pixels; largest difference from torch {difference:.0e}"
        files.append(ExportedFile(format="onnx", path=path, note=note, numbers={"onnx_largest_difference": difference}))
    return files


def _torchvision(context: EvaluationContext) -> ExportedFile:
    """Write a state dict, in torchvision's names if torchvision has such a network; the note says how to load it."""
    backbone, arch = context.backbone, context.card["arch"]
    state, path = backbone.state_dict(), context.folder / "backbone_torchvision.pth"
    layout = layouts.torchvision_layout(backbone)
    names = layout.names if layout else {name: name for name in state}
    save_atomically(path, {names[name]: value.detach().cpu().contiguous() for name, value in state.items()})
    if layout is None:
        note = f"in deepcluster's names: torchvision has no {arch['_target_'].rpartition('.')[2]} like it"
        return ExportedFile(format="torchvision", path=path, note=note)
    stem = state["features.conv1.0.weight"].shape
    note = f"torchvision.models.{arch.get('name', 'resnet18')}().load_state_dict(..., strict=False): fc is missing"
    if tuple(stem[1:]) != (3, 7, 7):
        note += f"; its own conv1 is 3 channels 7x7, this one {stem[1]} channels {stem[2]}x{stem[3]}"
    if backbone.sobel is not None:
        note += "; Sobel comes before it"
    return ExportedFile(format="torchvision", path=path, note=note)


def _official(context: EvaluationContext, arch: str, *, module: bool, labeling: int) -> ExportedFile:
    """Write a checkpoint like those of the 2018 code, with the head if there is one."""
    path, head = context.folder / "deepcluster.pth.tar", _head(context.stored, labeling)
    content = released.content_2018(context.backbone, arch, epoch=context.stored.epoch, head=head, module=module)
    write_atomically(path, released.bytes_2018(content))
    rows = (
        "top_layer is a row of zeros, because the checkpoint has no head"
        if head is None
        else f"{len(head[1])} clusters"
    )
    return ExportedFile(format="official", path=path, note=f"arch={arch}, {rows}")


def _head(stored: Weights, labeling: int = 0) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Weight and bias of the head. final.ckpt has none: take it from last.ckpt beside it, if of the same epoch."""
    last = stored.path.with_name("last.ckpt")
    if stored.head is None and stored.path.name == "final.ckpt" and last.is_file():
        other = load_checkpoint(last)
        heads = [other.head, *(one.head for one in other.others)]
        return heads[labeling] if other.epoch == stored.epoch else None
    return stored.head
