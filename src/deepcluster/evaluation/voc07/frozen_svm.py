"""VOC2007 by linear SVMs on frozen features, with all labels or a few (Goyal et al. 2019).

read_splits -> features of the fixed centre crop -> an SVM for each class -> average precision.
"""

import csv
import io
import json
import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepcluster.data.decode import BrokenImage
from deepcluster.data.images import FileImages
from deepcluster.data.loader import n_workers
from deepcluster.data.settings import Data
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.voc07.average_precision import RULES, class_average_precisions, means
from deepcluster.evaluation.voc07.fine_tuning import report
from deepcluster.evaluation.voc07.linear_svm import FloatArray, LinearSvm, svm_scores, unit_rows
from deepcluster.evaluation.voc07.lists import VocSplit, read_splits
from deepcluster.features.digest import weights_digest
from deepcluster.features.extraction import FeaturePass, collect
from deepcluster.features.inference import inference_copy
from deepcluster.models.backbone import pool_maps
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import generator, mix

FEATURES = "features"


@dataclass(kw_only=True)
class Voc07Svm(Evaluator):
    """Measure how well a straight line tells each class of VOC2007 from the rest.

    Args:
        kind: "voc07_svm".
        root: the folder VOCdevkit or VOCdevkit/VOC2007.
        train_split, test_split: train and val, or trainval and test; null: trainval and test if the lists of both
            are there, else train and val.
        stage: whose maps are read, averaged to at most 10,000 numbers; null: the last convolutional one; "features":
            what is clustered.
        shots: how many positives of a class an SVM learns from, with (C - 1) times as many negatives; null: all
            images. Those that a class of the training split has not are left out, and it is told.
        n_samples: of each number of shots, draws of images, over which mean and deviation are taken.
        num_workers: processes that decode; null: one per core, at most 8.
        svm: the classifier.
    """

    kind: str = "voc07_svm"
    root: str | None = None
    train_split: str | None = None
    test_split: str | None = None
    stage: str | None = None
    shots: list[int | None] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32, 64, 96, None])
    n_samples: int = 5
    num_workers: int | None = None
    svm: LinearSvm = field(default_factory=LinearSvm)

    def __post_init__(self) -> None:
        if not self.shots or min(n for n in [1, *self.shots] if n is not None) < 1:
            raise ValueError(f"evaluation.shots must name numbers of at least 1, or null, got {list(self.shots)}")
        if self.n_samples < 1:
            raise ValueError(f"evaluation.n_samples must be at least 1, got {self.n_samples}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Learn, test, write voc07_svm.csv: a line for each SVM. What was done before in the folder is kept.

        Returns:
            n_train, n_test; map_RULE of :data:`RULES` with all images (Goyal et al. give map_area); for each number
            of shots map_area_shots_N_mean and _std (over samples, n - 1; not of one), and the same of map_11_point.

        Raises:
            FileNotFoundError, ValueError: if the folder, the network and the settings do not fit.
        """
        if self.stage not in (None, FEATURES):
            context.backbone.check_stage(self.stage)
        learned, tested = read_splits(self.root, self.train_split, self.test_split, int(context.card["in_channels"]))
        tasks = self._tasks(learned, context)
        done = Done(
            context,
            {
                "network": weights_digest(context.backbone),
                "train_split": learned.name,
                "test_split": tested.name,
                "n_train": len(learned.images),
                "n_test": len(tested.images),
                "stage": self.stage,
                "seed": context.seed,
                **{name: list(value) if isinstance(value, list) else value for name, value in vars(self.svm).items()},
            },
        )
        missing = [task for task in tasks if task.key(learned) not in done.results]
        if missing:
            self._learn(missing, learned, tested, done, context)
        return self._report(tasks, learned, tested, done, context)

    def _tasks(self, split: VocSplit, context: EvaluationContext) -> list["Task"]:
        counts = (split.labels == 1).sum(0)
        fewest, rarest = int(counts.min()), split.classes[int(counts.argmin())]
        if fewest < 1:
            raise ValueError(f"no image of {split.name} shows a {rarest}; an SVM needs positives")
        if int((split.labels == 0).sum(0).min()) < 1:
            everywhere = split.classes[int((split.labels == 0).sum(0).argmin())]
            raise ValueError(f"no image of {split.name} is without a {everywhere}; an SVM needs negatives")
        too_many = [n for n in self.shots if n is not None and n > fewest]
        if too_many:
            context.progress.say(
                f"{split.name} has {fewest} images of {rarest}: left out evaluation.shots "
                f"{', '.join(map(str, too_many))}"
            )
        tasks = []
        for shots in dict.fromkeys(n for n in self.shots if n not in too_many):
            for sample in range(1 if shots is None else self.n_samples):
                tasks += [Task(shots, sample, column) for column in range(len(split.classes))]
        if not tasks:
            raise ValueError(
                f"evaluation.shots={list(self.shots)}: {split.name} has {fewest} images of {rarest}; "
                "lower it or add null"
            )
        return tasks

    def _learn(
        self, tasks: list["Task"], learned: VocSplit, tested: VocSplit, done: "Done", context: EvaluationContext
    ) -> None:
        try:
            train_x = unit_rows(self._features(learned.images, context))
            test_x = unit_rows(self._features(tested.images, context))
        except BrokenImage as error:  # its own words advise what holds for data=folder
            raise ValueError(f"an image in {learned.images.root} is damaged ({error}); unpack it again") from error
        context.progress.say(f"{train_x.shape[1]:,} features of {len(train_x):,} and {len(test_x):,} images")
        with context.progress.bar("SVMs", len(tasks), "svm") as advance:
            for task in tasks:
                done.add(task.key(learned), task.measure(train_x, learned, test_x, tested, self.svm, context.seed))
                if task.shots is None or task.column == len(learned.classes) - 1:  # few shots take milliseconds
                    done.write()
                advance(1)
        done.write()

    def _features(self, images: FileImages, context: EvaluationContext) -> Tensor:
        card = context.card
        network = inference_copy(context.backbone, dtype=context.dtype, channels_last=True).to(context.device)

        def forward(batch: Tensor) -> Tensor:
            if self.stage is None:
                return network.convolutional(batch)
            if self.stage == FEATURES:
                return network(batch)  # type: ignore[no-any-return]
            return pool_maps(network.stage(batch, self.stage)).flatten(1)

        source = FeaturePass(
            network=forward,
            images=images,
            view=FeatureView(int(card["image_size"]), card["resize"], card["mean"], card["std"], on_files=True),
            batch_size=context.extraction.batch_size,
            num_workers=n_workers(Data(num_workers=self.num_workers), images),
            device=context.device,
            dtype=context.dtype,
        )
        return collect(source, torch.arange(len(images)))

    def _report(
        self, tasks: list["Task"], learned: VocSplit, tested: VocSplit, done: "Done", context: EvaluationContext
    ) -> dict[str, float]:
        results: dict[str, float] = {"n_train": len(learned.images), "n_test": len(tested.images)}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["shots", "sample", "class", "cost", *(f"ap_{rule}" for rule in RULES)])
        by_draw: dict[tuple[int | None, int], dict[str, list[float]]] = {}
        n_open = 0
        for task in tasks:
            found = done.results[task.key(learned)]
            n_open += not found["converged"]
            of_draw = by_draw.setdefault((task.shots, task.sample), {rule: [] for rule in RULES})
            for rule in RULES:
                of_draw[rule].append(float("nan") if found[rule] is None else found[rule])
            writer.writerow(
                ["all" if task.shots is None else task.shots, task.sample, learned.classes[task.column], found["cost"]]
                + ["" if found[rule] is None else f"{found[rule]:.6f}" for rule in RULES]
            )
        write_atomically(context.folder / "voc07_svm.csv", text.getvalue().encode())
        for (shots, sample), of_draw in by_draw.items():
            if shots is None:
                results |= report(of_draw, tested, context, None)
            elif sample == 0:
                draws = [means(other) for (n, _), other in by_draw.items() if n == shots]
                for rule in ("11_point", "area"):
                    values = [draw[f"map_{rule}"] for draw in draws]
                    results[f"map_{rule}_shots_{shots}_mean"] = statistics.mean(values)
                    if len(values) > 1:
                        results[f"map_{rule}_shots_{shots}_std"] = statistics.stdev(values)
                spread = results.get(f"map_area_shots_{shots}_std")
                context.progress.say(
                    f"{shots:>3} positives of each class   mAP (area) {results[f'map_area_shots_{shots}_mean']:6.1%}"
                    + (" of one draw" if spread is None else f" ± {spread:.1%} over {len(draws)} draws")
                )
        if n_open:
            context.progress.say(
                f"{n_open} of {len(tasks)} SVMs stopped at evaluation.svm.max_iter={self.svm.max_iter}, "
                "short of their best"
            )
        return results


@dataclass(frozen=True)
class Task:
    """One SVM: of which class, learned from which draw of how many positives (None: all images)."""

    shots: int | None
    sample: int
    column: int

    def key(self, split: VocSplit) -> str:
        """Its name in voc07_svm.json."""
        return f"{'all' if self.shots is None else self.shots}/{self.sample}/{split.classes[self.column]}"

    def measure(
        self, train_x: FloatArray, learned: VocSplit, test_x: FloatArray, tested: VocSplit, svm: LinearSvm, seed: int
    ) -> dict[str, Any]:
        """Learn and test: the average precision by each rule (None without a positive), cost, converged."""
        own_seed = mix(seed, "voc07_svm", str(self.shots), self.sample, learned.classes[self.column])
        rows = draw_rows(learned.labels, self.column, self.shots, own_seed).numpy()
        positive = learned.labels[:, self.column].numpy()[rows] == 1
        found = svm_scores(train_x[rows], positive, test_x, svm, seed=own_seed)
        numbers: dict[str, Any] = {"cost": found.cost, "converged": found.converged}
        labels = tested.labels[:, self.column, None]
        if not bool((labels == 1).any()):
            return numbers | dict.fromkeys(RULES)
        of_class = class_average_precisions(torch.from_numpy(np.asarray(found.scores))[:, None], labels)
        return numbers | {rule: values[0] for rule, values in of_class.items()}


def draw_rows(labels: Tensor, column: int, shots: int | None, seed: int) -> Tensor:
    """The images from which a class is learned, ascending; difficult and unnamed ones never.

    Args:
        labels: (N, C): 1 present, 0 absent, -1 masked.
        column: the class.
        shots: so many positives at random, and (C - 1) x shots negatives or what there is; None: all.
    """
    positives, negatives = ((labels[:, column] == code).nonzero()[:, 0] for code in (1, 0))
    if shots is not None:
        random = generator(seed, "shots")
        positives = positives[torch.randperm(len(positives), generator=random)[:shots]]
        n_negatives = max(1, labels.shape[1] - 1) * shots
        negatives = negatives[torch.randperm(len(negatives), generator=random)[:n_negatives]]
    return torch.cat([positives, negatives]).sort().values


class Done:
    """voc07_svm.json: what SVMs of this call have found, so that a call with the same output_dir goes on.

    Args:
        context: its folder holds the file.
        identity: all that decides an SVM.

    Raises:
        ValueError: if the file is another evaluation's.
    """

    def __init__(self, context: EvaluationContext, identity: dict[str, Any]) -> None:
        self.file = context.folder / "voc07_svm.json"
        self.identity = identity
        self.results: dict[str, dict[str, Any]] = {}
        if not self.file.is_file():
            return
        stored = json.loads(self.file.read_text())
        differ = [name for name in identity if stored["identity"].get(name) != identity[name]]
        if differ:
            raise ValueError(
                f"{self.file} is of another evaluation: its {differ[0]} is {stored['identity'].get(differ[0])}, this "
                f"one's is {identity[differ[0]]}; choose another output_dir, or repeat the call that made it"
            )
        self.results = stored["results"]
        context.progress.say(f"going on after {len(self.results)} SVMs from {self.file}")

    def add(self, key: str, found: dict[str, Any]) -> None:
        self.results[key] = found

    def write(self) -> None:
        write_atomically(self.file, json.dumps({"identity": self.identity, "results": self.results}).encode())
