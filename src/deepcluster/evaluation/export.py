"""A trained backbone as files for other programs: evaluation=export of eval.py."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import torch

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.atomic import write_atomically
from deepcluster.weights import checkpoint, exported, layouts, onnx_file, released
from deepcluster.weights.recognise import Weights

FORMATS = ("safetensors", "torchvision", "official", "onnx")


@dataclass(kw_only=True)
class Export(Evaluator):
    """Write the backbone into the output folder.

    Args:
        kind: "export".
        formats: which files. "safetensors": backbone.safetensors and backbone.json, its description; "torchvision":
            backbone_torchvision.pth, a state dict in torchvision's names if it is a ResNet, else in ours;
            "official": deepcluster.pth.tar, for the tools of the 2018 code (AlexNet and VGG-16 as they build them);
            "onnx": backbone.onnx, from uint8 pixels to features.
        official_module: "official" names convolutions `features.module.N`, as the released files do.
    """

    kind: str = "export"
    formats: list[str] = field(default_factory=lambda: ["safetensors"])
    official_module: bool = True

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise ValueError(f"evaluation.formats must name some of {', '.join(FORMATS)}, got {list(self.formats)}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write the files.

        Returns:
            feature_dim, the size of each file in bytes, and how far ONNX's features are from torch's.

        Raises:
            ImportError: if a format needs an extra that is missing.
            ValueError: if the network cannot be written in a format; before the first file is written.
        """
        backbone, card, folder, stored = context.backbone, context.card, context.folder, context.stored
        arch = released.check_readable_2018(backbone, card) if "official" in self.formats else ""
        results: dict[str, float] = {"feature_dim": backbone.feature_dim}
        graph = b""
        if "onnx" in self.formats:  # first, as it may fail
            graph, results["onnx_largest_difference"] = onnx_file.to_onnx(backbone, card)
        files: list[tuple[str, Path, str]] = []
        if "safetensors" in self.formats:
            file = exported.write_exported(folder, backbone, card, epoch=stored.epoch)
            files.append(("safetensors", file, f"and {file.stem}.json: {backbone.feature_dim} features"))
        if "torchvision" in self.formats:
            file = folder / "backbone_torchvision.pth"
            layout = layouts.torchvision_layout(backbone)
            names = layout.names if layout else {name: name for name in backbone.state_dict()}
            buffer = io.BytesIO()
            torch.save({names[k]: v.detach().cpu().contiguous() for k, v in backbone.state_dict().items()}, buffer)
            write_atomically(file, buffer.getbuffer())
            files.append(("torchvision", file, _names_told(context)))
        if "official" in self.formats:
            file, head = folder / "deepcluster.pth.tar", _head(stored)
            content = released.content_2018(backbone, arch, epoch=stored.epoch, head=head, module=self.official_module)
            write_atomically(file, released.bytes_2018(content))
            rows = (
                "top_layer is a row of zeros, as there is no head here" if head is None else f"{len(head[1])} clusters"
            )
            files.append(("official", file, f"arch={arch}, {rows}"))
        if "onnx" in self.formats:
            file = folder / "backbone.onnx"
            write_atomically(file, graph)
            files.append(("onnx", file, f"uint8 pixels in; off torch by {results['onnx_largest_difference']:.0e}"))
        for name, file, note in files:
            results[f"{name}_bytes"] = file.stat().st_size
            context.progress.say(f"{name:12}{file} {note}")
        return results


def _names_told(context: EvaluationContext) -> str:
    """How torchvision's own model takes the file."""
    backbone, arch = context.backbone, context.card["arch"]
    if layouts.torchvision_layout(backbone) is None:
        return f"in deepcluster's names: torchvision has no {arch['_target_'].rpartition('.')[2]} like it"
    stem = backbone.state_dict()["features.conv1.0.weight"].shape
    note = f"torchvision.models.{arch.get('name', 'resnet18')}().load_state_dict(..., strict=False): fc is missing"
    if tuple(stem[1:]) != (3, 7, 7):
        note += f"; its own conv1 is 3 channels 7x7, this one {stem[1]} channels {stem[2]}x{stem[3]}"
    return note + ("; Sobel comes before it" if backbone.sobel is not None else "")


def _head(stored: Weights) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The head's rows; final.ckpt holds none, the last.ckpt of the same epoch beside it does."""
    last = stored.path.with_name("last.ckpt")
    if stored.head is None and stored.path.name == "final.ckpt" and last.is_file():
        other = checkpoint.load_checkpoint(last)
        return other.head if other.epoch == stored.epoch else None
    return stored.head
