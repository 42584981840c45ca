"""PASCAL VOC 2007 classification by fine-tuning (Caron et al. 2018): mAP on the test split. Next: voc07_svm.py.

read_splits -> fine_tune -> logits of ten crops, summed -> average precision of each class.
"""

import csv
import io
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.data.decode import BrokenImage
from deepcluster.data.loader import feature_batches, n_workers, random_batches
from deepcluster.data.settings import Data
from deepcluster.data.views import TrainView
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.probe.probe_views import TenCropView
from deepcluster.evaluation.voc07.average_precision import class_average_precisions, means
from deepcluster.evaluation.voc07.lists import VocSplit, read_splits
from deepcluster.evaluation.voc07.many_crops import RandomCrops
from deepcluster.evaluation.voc07.training import Classifier, FineTuning, fine_tune
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import mix

N_CROPS = 10  # original: eval_voc_classif.py
TEST_BATCH = 16  # images, 160 crops: fixed, as the random crops of an image depend on its batch
CROPS = ("random", "fixed")


@dataclass(kw_only=True)
class Voc07(Evaluator):
    """Fine-tune the network on VOC2007 and measure how well it ranks the test images of each class.

    Args:
        kind: "voc07".
        root: the folder VOCdevkit or VOCdevkit/VOC2007.
        train_split, test_split: train and val, or trainval and test; null: trainval and test if the lists of both
            are there, else train and val.
        test_crops: what the logits are summed over: "random", ten crops like those of the training, or "fixed",
            corners, centre and their mirrors.
        test_resize: short side before the fixed crops; null: the network's own if that is larger than its input,
            else 8/7 of its input (original: 256 for 224).
        num_workers: processes that decode; null: one per core, at most 8.
        training: how it is fine-tuned.
    """

    kind: str = "voc07"
    root: str | None = None
    train_split: str | None = None
    test_split: str | None = None
    test_crops: str = "random"
    test_resize: int | None = None
    num_workers: int | None = None
    training: FineTuning = field(default_factory=FineTuning)

    def __post_init__(self) -> None:
        if self.test_crops not in CROPS:
            raise ValueError(f"evaluation.test_crops must be one of {', '.join(CROPS)}, got {self.test_crops!r}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Train, test, write voc07.csv: a line of average precisions for each class.

        Returns:
            n_train, n_test, n_iterations and map_11_point (VOC2007's rule), map_area (VOC2010's), map_step
            (scikit-learn's), map_official (the 2018 code's), in [0, 1]: average_precision.py tells them apart.

        Raises:
            FileNotFoundError, ValueError: if the folder, the network and the settings do not fit.
        """
        card = context.card
        size = int(card["image_size"])
        resize = self._resize(size, card["resize"])
        learned, tested = read_splits(self.root, self.train_split, self.test_split, int(card["in_channels"]))
        workers = n_workers(Data(num_workers=self.num_workers), learned.images)
        context.progress.say(
            f"{learned.name}: {len(learned.images):,} images, {tested.name}: {len(tested.images):,}, "
            f"{len(learned.classes)} classes, crops of {size} px, {workers} reading processes"
        )
        training = self.training
        mean, std = card["mean"], card["std"]
        view = TrainView(
            size, training.crop_scale, training.crop_ratio, training.flip, mean=mean, std=std, on_files=True
        )
        if self.test_crops == "fixed":
            test_view: TenCropView | RandomCrops = TenCropView(size, resize, mean, std, on_files=True)
        else:
            test_view = RandomCrops(
                N_CROPS, size, training.crop_scale, training.crop_ratio, training.flip, mean=mean, std=std
            )
        try:
            classifier = fine_tune(
                context.backbone,
                learned,
                view,
                training,
                folder=context.folder,
                seed=context.seed,
                num_workers=workers,
                device=context.device,
                progress=context.progress,
            )
            scores = summed_logits(classifier, tested, test_view, workers, context)
        except BrokenImage as error:  # its own words advise what holds for data=folder
            raise ValueError(f"an image in {learned.images.root} is damaged ({error}); unpack it again") from error
        numbers = report(class_average_precisions(scores, tested.labels), tested, context, "voc07.csv")
        return {
            "n_train": len(learned.images),
            "n_test": len(tested.images),
            "n_iterations": training.n_iterations,
            **numbers,
        }

    def _resize(self, size: int, of_network: int | None) -> int:
        if self.test_resize is not None:
            if self.test_resize < size:
                raise ValueError(
                    f"evaluation.test_resize={self.test_resize} is less than the network's input of {size} px; raise it"
                )
            return self.test_resize
        return of_network if of_network is not None and of_network > size else math.ceil(size * 8 / 7)


@torch.inference_mode()
def summed_logits(
    classifier: Classifier, split: VocSplit, view: TenCropView | RandomCrops, workers: int, context: EvaluationContext
) -> Tensor:
    """Logits (N, C) of a split's images, summed over each image's crops."""
    indices = torch.arange(len(split.images))
    if isinstance(view, TenCropView):
        batches = feature_batches(split.images, view, indices, TEST_BATCH, workers)
    else:
        seed = mix(context.seed, "voc07", "test")
        batches = random_batches(split.images, view, indices, TEST_BATCH, workers, seed)
    scores = torch.empty(len(indices), len(split.classes))
    with context.progress.bar("test", len(indices), "img") as advance:
        for batch in batches:
            images = batch.images.to(context.device, non_blocking=True)
            crops = view(images) if isinstance(view, TenCropView) else view(images, batch.draws)
            logits = classifier(crops.flatten(0, 1)).view(len(batch.indices), -1, len(split.classes))
            scores[batch.indices] = logits.sum(1).float().cpu()
            advance(len(batch.indices))
    return scores


def report(
    found: dict[str, list[float]], split: VocSplit, context: EvaluationContext, name: str | None
) -> dict[str, float]:
    """Tell each class's average precisions and write them as a CSV file, if it has a name; their means, map_RULE."""
    numbers = means(found)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "n_images", "n_positive", *(f"ap_{rule}" for rule in found)])
    context.progress.say(f"{'class':14}{'positive':>9}" + "".join(f"{rule:>10}" for rule in found))
    for column, class_name in enumerate(split.classes):
        n_images, n_positive = (int((split.labels[:, column] >= least).sum()) for least in (0, 1))
        values = [of_rule[column] for of_rule in found.values()]
        written = ["" if math.isnan(value) else f"{value:.6f}" for value in values]
        writer.writerow([class_name, n_images, n_positive, *written])
        shown = "".join(f"{'-' if math.isnan(value) else f'{value:.1%}':>10}" for value in values)
        context.progress.say(f"{class_name:14}{n_positive:>9,}{shown}")
    context.progress.say(f"{'mean':14}{'':9}" + "".join(f"{value:>10.1%}" for value in numbers.values()))
    if name is not None:
        write_atomically(context.folder / name, text.getvalue().encode())
    return numbers
