"""Writes the files of evaluation=export, each in the format of another program."""

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

import torch

from deepcluster.clustering.assignment import Assignment
from deepcluster.evaluation import bundle
from deepcluster.evaluation.clusters.clustered_images import stored_assignment
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.models.onnx_network import OnnxNetwork
from deepcluster.system.atomic import save_atomically, write_atomically
from deepcluster.weights import layouts, onnx_file, released
from deepcluster.weights.checkpoint import load_checkpoint
from deepcluster.weights.exported import write_exported
from deepcluster.weights.recognise import Weights


@dataclass(kw_only=True)
class ExportedFile:
    """A written file or folder: its format, a note for the user, numbers for results.json."""

    format: str
    path: Path
    note: str
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Size of the file, or of the files in the folder."""
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def exported_files(
    context: EvaluationContext,
    formats: Set[str],
    *,
    official_module: bool,
    labeling: int,
    names: str | None,
    license: str,
) -> list[ExportedFile]:
    """Write the backbone in these formats, see :class:`Export`.

    Args:
        context: of the labeling whose clusters and head are written, into its folder.

    Raises:
        ImportError: if a format needs an extra that is missing.
        ValueError: if the network cannot be written in a format; raised before the first file is written.
    """
    backbone, card = context.backbone, context.card
    # what may be refused comes first, so that no file is written in vain
    arch = released.check_readable_2018(backbone, card) if "official" in formats else ""
    if "torchvision" in formats and isinstance(backbone, OnnxNetwork):
        raise ValueError('the network of an ONNX file has no tensors to name: leave "torchvision" out of formats')
    assignment, named = None, dict[str, str]()
    if "bundle" in formats:
        bundle.check_out(context.folder)
        assignment = stored_assignment(context)
        named = bundle.names_of_clusters(names, context.stored.home, assignment.k)
    graph = _graph(context, assignment) if "onnx" in formats else None
    files = []
    if formats & {"safetensors", "bundle"}:
        reading = bundle.pixels_read(context) if assignment is not None else None
        path = write_exported(context.folder, backbone, card, epoch=context.stored.epoch, reading=reading)
        note = f"and {path.stem}.json: {backbone.feature_dim} features"
        files.append(ExportedFile(format="safetensors", path=path, note=note))
    if "torchvision" in formats:
        files.append(_torchvision(context))
    if "official" in formats:
        files.append(_official(context, arch, module=official_module, labeling=labeling))
    if graph is not None:
        path = context.folder / ("backbone.onnx" if assignment is None else bundle.ONNX)
        write_atomically(path, graph.content)
        numbers = {"onnx_largest_difference": graph.difference}
        files.append(
            ExportedFile(format="onnx", path=path, note=f"input: {graph.takes}; {graph.told}", numbers=numbers)
        )
    if assignment is not None:
        onnx = None if graph is None else graph.told
        bundle.write_bundle(context, assignment, named, license=license, onnx=onnx)
        note = f"holds all that assigns new pictures to its {assignment.k:,} clusters"
        files.append(ExportedFile(format="bundle", path=context.folder, note=note))
    return files


@dataclass(kw_only=True)
class _Graph:
    """An ONNX graph, its largest difference from torch as a share of the largest feature, and the same in words."""

    content: bytes
    difference: float
    told: str
    takes: str = "uint8 pixels"


def _graph(context: EvaluationContext, assignment: Assignment | None) -> _Graph | None:
    """The graph; None where the extra is missing and a bundle does without it.

    Raises:
        ImportError: if the extra is missing and no bundle is written.
    """
    if isinstance(context.backbone, OnnxNetwork):
        if assignment is None:
            content = context.backbone.content
            return _Graph(content=content, difference=0.0, told="the file as it was read", takes="what that file takes")
        context.progress.say("onnx        left out: the network is an ONNX file, which backbone.safetensors holds")
        return None
    try:
        onnx_file.import_onnx()
    except ImportError as error:
        if assignment is None:
            raise
        context.progress.say(f"onnx        left out: {error}")
        return None
    pictures, what = bundle.pictures_to_compare(context)
    content, difference = onnx_file.to_onnx(context.backbone, context.card, assignment, pictures)
    told = f"largest difference from torch {difference:.0e}"
    if assignment is not None:
        told += f" of the largest feature on {what}, with the same clusters"
    return _Graph(content=content, difference=difference, told=told)


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
