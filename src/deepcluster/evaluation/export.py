"""A trained backbone as files for other programs: evaluation=export of eval.py. The work: export_files.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext

FORMATS = ("safetensors", "torchvision", "official", "onnx")


@dataclass(kw_only=True)
class Export(Evaluator):
    """Write the backbone into the output folder.

    Args:
        kind: "export".
        head: which labeling's head "official" holds, counted from 0, where images are clustered several times.
        formats: which files. "safetensors": backbone.safetensors and its description backbone.json; "torchvision":
            backbone_torchvision.pth, a state dict in torchvision's names if it is a ResNet, else in ours;
            "official": deepcluster.pth.tar, for the tools of the 2018 code (only its AlexNet and VGG-16);
            "onnx": backbone.onnx, from uint8 pixels to features.
        official_module: in "official", name the convolutions `features.module.N`, as the released files do.
    """

    makes = "files"

    kind: str = "export"
    head: int = setting(0, at_least=0)
    formats: list[str] = field(default_factory=lambda: ["safetensors"])
    official_module: bool = True

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
            ImportError: if a format needs an extra that is missing.
            ValueError: if the network cannot be written in a format; raised before the first file is written.
        """
        from deepcluster.evaluation.export_files import exported_files

        numbers: dict[str, float] = {"feature_dim": context.backbone.feature_dim}
        for file in exported_files(
            context.of_labeling(self.head), set(self.formats), official_module=self.official_module, labeling=self.head
        ):
            numbers |= {**file.numbers, f"{file.format}_bytes": file.path.stat().st_size}
            context.progress.say(f"{file.format:12}{file.path} {file.note}")
        return numbers
