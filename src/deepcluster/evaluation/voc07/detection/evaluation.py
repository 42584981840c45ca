"""evaluation=voc07_detection: PASCAL VOC 2007 detection, mean average precision at an overlap of one half.

pictures.py reads the splits, annotations.py the boxes -> training.py trains detector.py and finds objects
-> matching.py: average precision of each class. Here are the settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.voc07.classes import CLASSES
from deepcluster.evaluation.voc07.settings import DetectionTraining, VocSet
from deepcluster.system.setting import setting
from deepcluster.system.tables import write_csv

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext
    from deepcluster.evaluation.voc07.detection.matching import Found
    from deepcluster.evaluation.voc07.pictures import PictureSplit


@dataclass(kw_only=True)
class Voc07Detection(VocSet, Evaluator):
    """Train a detector on the network and measure how well it finds VOC2007's objects.

    Args:
        kind: "voc07_detection".
        stage: stage whose maps are read; null: the last before the maps become smaller (AlexNet's conv5, a ResNet's
            layer3). Regions go through the rest of the network.
        short_side: pixels to which the pictures' short side is brought (Fast R-CNN: 600).
        max_side: longest long side (Fast R-CNN: 1000).
        n_proposals: regions of a test picture that are looked at (Ren et al.: 300); fewer are faster.
        compare_scratch: also train a detector on an untrained network of the same architecture.
        training: how it learns.
    """

    kind: str = "voc07_detection"
    stage: str | None = None
    short_side: int = setting(600, at_least=32)
    max_side: int = setting(1000, at_least=33)
    n_proposals: int = setting(300, at_least=1)
    compare_scratch: bool = False
    training: DetectionTraining = field(default_factory=DetectionTraining)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_side <= self.short_side:
            raise ValueError(
                f"evaluation.max_side={self.max_side} must be above evaluation.short_side={self.short_side}; raise it"
            )

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Train, test, and write voc07_detection.csv, the average precisions of each class, and detections.csv, all
        boxes, in the annotations' pixels as VOC counts them.

        Returns:
            n_train, n_test, n_iterations, map_11_point (VOC2007's rule), map_devkit (as its code counts it) and
            map_area (VOC2010's), in [0, 1]; with compare_scratch the same for the untrained network as scratch_...

        Raises:
            FileNotFoundError, ValueError: if the folder, the network and the settings do not fit.
        """
        from deepcluster.evaluation.voc07.class_table import mean_of_classes, report_table
        from deepcluster.evaluation.voc07.cut import check_network
        from deepcluster.evaluation.voc07.detection.annotations import read_annotations
        from deepcluster.evaluation.voc07.detection.detector import default_stage
        from deepcluster.evaluation.voc07.detection.matching import average_precisions, n_objects_of
        from deepcluster.evaluation.voc07.detection.training import find_objects, trained_detector
        from deepcluster.evaluation.voc07.lists import LISTS, naming_damage
        from deepcluster.evaluation.voc07.picture_training import starts
        from deepcluster.evaluation.voc07.pictures import PictureReader, n_threads, read_picture_splits

        card, say = context.card, context.progress.say
        check_network(context.backbone)
        if self.stage is not None:
            context.backbone.check_stage(self.stage)
        stage = self.stage or default_stage(context.backbone)
        splits = read_picture_splits(self.root, self.train_split, self.test_split, LISTS, int(card["in_channels"]))
        truths = [read_annotations(split) for split in splits]
        n_objects = n_objects_of(truths[1])
        if not any(n_objects):
            raise ValueError(f"the pictures of {splits[1].name} show no object that counts, so nothing can be measured")
        readers = [
            PictureReader(
                images=split.images,
                short_side=self.short_side,
                max_side=self.max_side,
                mean=card["mean"],
                std=card["std"],
                n_threads=n_threads(self.num_workers),
            )
            for split in splits
        ]
        say(
            f"{splits[0].name}: {len(readers[0].images):,} pictures, {splits[1].name}: {len(readers[1].images):,} with "
            f"{sum(n_objects):,} objects; regions of {stage}, short side {self.short_side} px"
        )
        numbers: dict[str, float] = {
            "n_train": len(splits[0].names),
            "n_test": len(splits[1].names),
            "n_iterations": self.training.n_iterations,
        }
        columns: dict[str, list[float]] = {}
        with naming_damage(splits[0].images):
            for prefix, backbone in starts(context, self.compare_scratch, readers[0]).items():
                detector = trained_detector(
                    backbone,
                    stage,
                    self.training,
                    truths[0],
                    n_proposals=self.n_proposals,
                    reader=readers[0],
                    context=context,
                    name=f"voc07_detection_{prefix}".rstrip("_"),
                )
                found = find_objects(detector, truths[1], reader=readers[1], context=context)
                _write(context.folder / f"{prefix}detections.csv", splits[1], found)
                for rule, values in average_precisions(found, truths[1]).items():
                    columns[f"{prefix}ap_{rule}"] = values
                    numbers[f"{prefix}map_{rule}"] = mean_of_classes(values)
        report_table(CLASSES, {"n_objects": n_objects}, columns, say, context.folder / "voc07_detection.csv")
        return numbers


def _write(file: Path, split: PictureSplit, found: list[Found]) -> None:
    """A line for each box."""
    rows = (
        [name, CLASSES[label], f"{score:.6f}", *(f"{edge:.2f}" for edge in (left + 1, top + 1, right, bottom))]
        for name, boxes in zip(split.names, found, strict=True)
        for (left, top, right, bottom), label, score in zip(*(values.tolist() for values in boxes), strict=True)
    )
    write_csv(file, ["picture", "class", "score", "xmin", "ymin", "xmax", "ymax"], rows)
