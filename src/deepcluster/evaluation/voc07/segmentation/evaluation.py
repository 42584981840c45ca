"""evaluation=voc07_segmentation: PASCAL VOC segmentation, mean intersection over union of 21 classes.

pictures.py reads the splits, masks.py the classes of pixels -> training.py trains fcn.py and counts pixels
-> overlap.py: intersection over union of each class. Here are the settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.voc07.settings import SegmentationTraining, VocSet
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext

WAY_OUT = "set evaluation.short_side to make them larger"


@dataclass(kw_only=True)
class Voc07Segmentation(VocSet, Evaluator):
    """Turn the network into a fully convolutional one and measure how well it tells each pixel's class.

    Args:
        kind: "voc07_segmentation".
        skips: from how many earlier stages scores are added: 0 is FCN-32s (the paper's AlexNet), 1 FCN-16s, 2 FCN-8s.
        short_side: pixels to which the pictures' short side is brought; null: as they are (FCN).
        compare_scratch: also train an untrained network of the same architecture.
        training: how it learns.
    """

    kind: str = "voc07_segmentation"
    skips: int = setting(0, at_least=0)
    short_side: int | None = setting(None, at_least=32)
    compare_scratch: bool = False
    training: SegmentationTraining = field(default_factory=SegmentationTraining)

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Train, test, and write voc07_segmentation.csv, the values of each class.

        Returns:
            n_train, n_test, n_iterations, mean_iou (over the classes that there are) and pixel_accuracy, in [0, 1];
            with compare_scratch the last two for the untrained network as scratch_...

        Raises:
            FileNotFoundError, ValueError: if the folder, the network and the settings do not fit.
        """
        from deepcluster.evaluation.voc07.class_table import mean_of_classes, report_table
        from deepcluster.evaluation.voc07.classes import CLASSES
        from deepcluster.evaluation.voc07.cut import Maps, check_network
        from deepcluster.evaluation.voc07.lists import SEGMENTED, naming_damage
        from deepcluster.evaluation.voc07.picture_training import starts
        from deepcluster.evaluation.voc07.pictures import (
            PictureReader,
            n_threads,
            read_picture_splits,
            smallest_side,
        )
        from deepcluster.evaluation.voc07.segmentation.masks import BACKGROUND, checked_masks
        from deepcluster.evaluation.voc07.segmentation.overlap import intersections_over_unions, pixel_accuracy
        from deepcluster.evaluation.voc07.segmentation.training import counted_pixels, trained_fcn

        card, say = context.card, context.progress.say
        check_network(context.backbone)
        splits = read_picture_splits(self.root, self.train_split, self.test_split, SEGMENTED, int(card["in_channels"]))
        masks = [checked_masks(split) for split in splits]
        readers = [
            PictureReader(
                images=split.images,
                short_side=self.short_side,
                max_side=None,
                mean=card["mean"],
                std=card["std"],
                n_threads=n_threads(self.num_workers),
            )
            for split in splits
        ]
        side = self.short_side or min(smallest_side(split.images) for split in splits)
        Maps(context.backbone, None, context.dtype).check_side(context.backbone.in_channels, side, WAY_OUT)
        fcn_name = f"FCN with {self.skips} skip{'' if self.skips == 1 else 's'}"
        say(
            f"{splits[0].name}: {len(masks[0]):,} pictures, {splits[1].name}: {len(masks[1]):,}; {fcn_name}, "
            f"short side {'as it is' if self.short_side is None else f'{self.short_side} px'}"
        )
        numbers: dict[str, float] = {
            "n_train": len(masks[0]),
            "n_test": len(masks[1]),
            "n_iterations": self.training.n_iterations,
        }
        columns: dict[str, list[float]] = {}
        with naming_damage(splits[0].images):
            for prefix, backbone in starts(context, self.compare_scratch, readers[0]).items():
                network = trained_fcn(
                    backbone,
                    self.skips,
                    self.training,
                    masks[0],
                    reader=readers[0],
                    context=context,
                    name=f"voc07_segmentation_{prefix}".rstrip("_"),
                )
                pixels = counted_pixels(network, masks[1], reader=readers[1], context=context)
                columns[f"{prefix}iou"] = intersections_over_unions(pixels)
                numbers[f"{prefix}mean_iou"] = mean_of_classes(columns[f"{prefix}iou"])
                numbers[f"{prefix}pixel_accuracy"] = pixel_accuracy(pixels)
        counts = {"n_pixels": pixels.sum(1).tolist()}
        report_table((BACKGROUND, *CLASSES), counts, columns, say, context.folder / "voc07_segmentation.csv")
        return numbers
