"""A trained backbone as files for other programs: evaluation=export of eval.py. The work: export_files.py."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext

FORMATS = ("safetensors", "torchvision", "official", "onnx", "bundle")


@dataclass(kw_only=True)
class Export(Evaluator):
    """Write the backbone, or a bundle, into a folder.

    Args:
        kind: "export".
        head: which labeling, counted from 0, where images are clustered several times: its head "official" holds, its
            clusters a bundle.
        formats: which files. "safetensors": backbone.safetensors and its description backbone.json, in timm's names if
            it is a network of timm; "torchvision": backbone_torchvision.pth, a state dict in torchvision's names if it
            is a ResNet, else in ours; "official": deepcluster.pth.tar, for the tools of the 2018 code (only its AlexNet
            and VGG-16); "onnx": backbone.onnx, from uint8 pixels to features; "bundle": all that assigns and embeds new
            pictures (backbone, clusters.safetensors, names.csv, a model card), and with "onnx" too model.onnx, from
            uint8 pixels to features, cluster and distance.
        official_module: in "official", name the convolutions `features.module.N`, as the released files do.
        out: folder of the files; null: the output folder, and bundle/ in it for a bundle.
        names: of a bundle: CSV file with the columns cluster and name; null: RUN/names.csv, if there is one.
        license: of a bundle: the licence's identifier on Hugging Face's hub, such as mit or cc-by-4.0.
    """

    makes = "files"

    kind: str = "export"
    head: int = setting(0, at_least=0)
    formats: list[str] = field(default_factory=lambda: ["safetensors"])
    official_module: bool = True
    out: str | None = setting(None, is_path=True)
    names: str | None = setting(None, is_path=True)
    license: str = "unknown"

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise ValueError(f"evaluation.formats must name some of {', '.join(FORMATS)}, got {list(self.formats)}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write the files.

        Returns:
            feature_dim, the size of each file in bytes, and the largest difference of ONNX's features from torch's.

        Raises:
            ImportError: if a format needs an extra that is missing; of a bundle only model.onnx is then left out.
            ValueError: if the network cannot be written in a format; raised before the first file is written.
        """
        from deepcluster.evaluation.export_files import exported_files

        to_folder = copy.copy(context.of_labeling(self.head))
        to_folder.folder = Path(self.out) if self.out is not None else context.folder
        if self.out is None and "bundle" in self.formats:
            to_folder.folder = context.folder / "bundle"
        numbers: dict[str, float] = {"feature_dim": context.backbone.feature_dim}
        files = exported_files(
            to_folder,
            set(self.formats),
            official_module=self.official_module,
            labeling=self.head,
            names=self.names,
            license=self.license,
        )
        for file in files:
            numbers |= {**file.numbers, f"{file.format}_bytes": file.n_bytes}
            context.progress.say(f"{file.format:12}{file.path} {file.note}")
        return numbers
