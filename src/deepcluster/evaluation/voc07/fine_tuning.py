"""evaluation=voc07: PASCAL VOC 2007 classification by fine-tuning (Caron et al. 2018), mAP on the test split.

lists.py reads the splits -> training.py fine-tunes -> crop_scores.py: logits of ten crops, summed
-> average_precision.py: average precision of each class. Here are the settings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.voc07.settings import FineTuning, VocSet
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Voc07(VocSet, Evaluator):
    """Fine-tune the network on VOC2007 and measure how well it ranks the test images of each class.

    Args:
        kind: "voc07".
        test_crops: crops over which logits are summed: "random": ten crops as in training; "fixed": corners, centre and
            their mirrors.
        test_resize: short side in pixels before the fixed crops; null: the network's own `resize` if it is larger than
            its input, else 8/7 of its input (original: 256 for 224).
        training: how the network is fine-tuned.
    """

    kind: str = "voc07"
    test_crops: str = setting("random", one_of=("random", "fixed"))
    test_resize: int | None = None
    training: FineTuning = field(default_factory=FineTuning)

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Train, test, and write voc07.csv: the average precisions of each class.

        Returns:
            n_train, n_test, n_iterations and map_11_point (VOC2007's rule), map_devkit (as its devkit counts it),
            map_area (VOC2010's), map_step (scikit-learn's), map_official (the 2018 code's), in [0, 1];
            average_precision.py explains them.

        Raises:
            FileNotFoundError, ValueError: if the folder, the network and the settings do not fit.
        """
        from deepcluster.data.loader import n_workers
        from deepcluster.evaluation.voc07.average_precision import class_average_precisions
        from deepcluster.evaluation.voc07.class_table import report_classes
        from deepcluster.evaluation.voc07.crop_scores import N_CROPS, TEST_BATCH, fine_tuned_scores
        from deepcluster.evaluation.voc07.lists import naming_damage, read_splits

        card, training, say = context.card, self.training, context.progress.say
        if training.mode == "all" and not any(weight.requires_grad for weight in context.backbone.parameters()):
            raise ValueError(
                "this network has no trainable weights, so it cannot be fine-tuned; use evaluation=voc07_svm"
            )
        size = int(card["image_size"])
        resize = self._resize(size, card["resize"])
        train_split, test_split = read_splits(self.root, self.train_split, self.test_split, int(card["in_channels"]))
        largest_batch = max(training.batch_size, TEST_BATCH * N_CROPS)
        workers = n_workers(self.num_workers, train_split.images, batch_size=largest_batch, size=size)
        say(
            f"{train_split.name}: {len(train_split.images):,} images, {test_split.name}: {len(test_split.images):,}, "
            f"{len(train_split.classes)} classes, crops of {size} px, {workers} reading processes"
        )
        fixed = resize if self.test_crops == "fixed" else None
        with naming_damage(train_split.images):
            scores = fine_tuned_scores(
                context, train_split, test_split, training, fixed_crops_of=fixed, num_workers=workers
            )
        by_rule = class_average_precisions(scores, test_split.labels)
        return {
            "n_train": len(train_split.images),
            "n_test": len(test_split.images),
            "n_iterations": training.n_iterations,
            **report_classes(by_rule, test_split, say, context.folder / "voc07.csv"),
        }

    def _resize(self, size: int, resize_of_network: int | None) -> int:
        """Short side in pixels before the fixed crops of `size` pixels."""
        if self.test_resize is not None and self.test_resize < size:
            raise ValueError(
                f"evaluation.test_resize={self.test_resize} is less than the network's input of {size} px; raise it"
            )
        if self.test_resize is not None:
            return self.test_resize
        if resize_of_network is not None and resize_of_network > size:
            return resize_of_network
        return math.ceil(size * 8 / 7)
