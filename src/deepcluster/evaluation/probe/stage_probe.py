"""Linear probes on any stages: evaluation=linear_probe. Its protocols: probe_fast.py, probe_original.py."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.probe.fast import StageResult, probe_fast
from deepcluster.evaluation.probe.knn import Knn
from deepcluster.evaluation.probe.linear_probe import LinearProbe
from deepcluster.evaluation.probe.original import OriginalProbe, probe_original
from deepcluster.evaluation.probe.representation import Evaluation, LabelledSplit, labelled_split
from deepcluster.evaluation.probe.stages import Stage, check_names, chosen_stages
from deepcluster.evaluation.same_work import fingerprint
from deepcluster.system.atomic import write_atomically

PROTOCOLS = ("fast", "original")
# Lower than LinearProbe's own: of 9,600 numbers the best rate was its lowest, 0.001 (embedded set, both stages).
RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)


@dataclass(kw_only=True)
class StageProbe(Evaluator):
    """How much a straight line reads from each stage of a frozen network.

    Maps are taken after the stage's ReLU and before pooling, and averaged to about 9,600 numbers (original:
    eval_linear.py). The accuracy is that of the last epoch; nothing is chosen on the test images.

    Args:
        kind: "linear_probe".
        stages: names such as [conv3,conv4]; "all"; null: the last one. "features": the D features themselves.
        protocol: "fast": features kept, several learning rates at once, chosen on held-out training images, no
            augmentation. "original": the 2018 recipe with its crops and flips.
        max_features: maps of more numbers are averaged to a grid that has no more (the AlexNet of the papers at
            224 px: exactly as there).
        max_images: at most so many training images, drawn at random; null: all.
        test_share: where there is no labelled test set, this share of the labelled images is held out.
        n_seeds: repetitions, for mean and deviation; the network and its features stay the same.
        memory_gb: fast: GB (1e9 bytes) for features; stages that do not fit together cost more passes.
        linear_probe: fast: epochs, batch size, rates.
        original: epochs, batch size, rate, crops.
    """

    kind: str = "linear_probe"
    stages: Any = None
    protocol: str = "fast"
    max_features: int = 9600
    max_images: int | None = None
    test_share: float = 0.2
    n_seeds: int = 1
    memory_gb: float = 4.0
    linear_probe: LinearProbe = field(default_factory=lambda: LinearProbe(learning_rates=list(RATES)))
    original: OriginalProbe = field(default_factory=OriginalProbe)

    def __post_init__(self) -> None:
        check_names(self.stages)
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"evaluation.protocol must be one of {', '.join(PROTOCOLS)}, got {self.protocol}")
        for name, least in (("max_features", 1), ("max_images", 10), ("n_seeds", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"evaluation.{name} must be at least {least}, got {value}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"evaluation.test_share must be between 0 and 1, got {self.test_share}")
        if not self.memory_gb > 0:
            raise ValueError(f"evaluation.memory_gb must be above 0, got {self.memory_gb}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Probe; writes linear_probe.csv and one classifier per stage, linear_probe_STAGE.pt.

        Returns:
            n_images; by stage linear_probe_accuracy_STAGE, with several seeds the mean, and then their deviation
            linear_probe_accuracy_std_STAGE; of the original protocol also linear_probe_best_test_epoch_STAGE, the
            figure that the 2018 code and paper report, chosen on the test images (issue #53 there).

        Raises:
            ValueError: if a stage does not exist, labels are missing, or features do not fit into memory.
        """
        stages = chosen_stages(context.backbone, self.stages, max_features=self.max_features)
        split = probe_split(context, max_images=self.max_images, test_share=self.test_share)
        context.progress.say(
            f"{self.protocol} linear probe of {', '.join(stage.name for stage in stages)}: "
            f"{len(split.train_indices):,} training images, {len(split.test_indices):,} test images"
        )
        # A stage's seeds are remembered together by the fast protocol, one by one by the original.
        alike = replace(self, memory_gb=1.0, n_seeds=1 if self.protocol == "original" else self.n_seeds)
        same = fingerprint(context, alike, self.protocol)
        if self.protocol == "fast":
            found = probe_fast(
                context,
                split,
                stages,
                self.linear_probe,
                n_seeds=self.n_seeds,
                memory_gb=self.memory_gb,
                fingerprint=same,
            )
        else:
            found = probe_original(context, split, stages, self.original, n_seeds=self.n_seeds, fingerprint=same)
        write_csv(context.folder / "linear_probe.csv", stages, found, self.protocol)
        for line in table(stages, found):
            context.progress.say(line)
        return {"n_images": len(split.train_indices), **numbers(stages, found)}


def probe_split(context: EvaluationContext, *, max_images: int | None, test_share: float) -> LabelledSplit:
    """The labelled images to learn from and to test on.

    Raises:
        ValueError: if there are too few, or the network takes other channels.
    """
    train = context.train_images
    context.check_channels(train)
    settings = Evaluation(max_images=max_images or max(10, len(train)), test_share=test_share, knn=Knn(k=1))
    split = labelled_split(train, context.test_images, settings, seed=context.seed)
    if split is None:
        raise ValueError(
            f"data={context.data.source} cannot be probed: that needs labels of two classes, at least 10 labelled "
            "training images and a test image; evaluation=assign needs none"
        )
    return split


def numbers(stages: Sequence[Stage], found: Sequence[StageResult]) -> dict[str, float]:
    """The results' keys and values, see :meth:`StageProbe.run`."""
    results: dict[str, float] = {}
    for stage in stages:
        mine = [result for result in found if result.stage == stage.name]
        accuracies = [result.accuracy for result in mine]
        results[f"linear_probe_accuracy_{stage.name}"] = statistics.fmean(accuracies)
        if len(mine) > 1:
            results[f"linear_probe_accuracy_std_{stage.name}"] = statistics.stdev(accuracies)
        best = [r.best_test_epoch_accuracy for r in mine if r.best_test_epoch_accuracy is not None]
        if best:
            results[f"linear_probe_best_test_epoch_{stage.name}"] = statistics.fmean(best)
    return results


def table(stages: Sequence[Stage], found: Sequence[StageResult]) -> list[str]:
    """Lines of a table: stage, what is read, accuracy."""
    values = numbers(stages, found)
    original = any(result.best_test_epoch_accuracy is not None for result in found)
    rows = [["stage", "numbers read", "accuracy", "best test epoch" if original else "learning rate"]]
    for stage in stages:
        accuracy = f"{values[f'linear_probe_accuracy_{stage.name}']:.1%}"
        deviation = values.get(f"linear_probe_accuracy_std_{stage.name}")
        if deviation is not None:
            accuracy += f" ± {100 * deviation:.1f}"
        last = ", ".join(dict.fromkeys(f"{r.learning_rate:g}" for r in found if r.stage == stage.name))
        if original:
            last = f"{values[f'linear_probe_best_test_epoch_{stage.name}']:.1%}"
        shape = "x".join(map(str, stage.shape))
        read = f"{stage.n_features:,} = {shape}" if len(stage.shape) > 1 else f"{stage.n_features:,}"
        rows.append([stage.name, read, accuracy, last])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def write_csv(file: Path, stages: Sequence[Stage], found: Sequence[StageResult], protocol: str) -> None:
    """One line per stage and seed; what a protocol does not have stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measured = ["accuracy", "best_test_epoch", "learning_rate", "held_out_accuracy"]
    writer.writerow(["stage", "protocol", "seed", *measured, "n_features", "pooling"])
    by_name = {stage.name: stage for stage in stages}
    for r in found:
        stage = by_name[r.stage]
        values = [r.accuracy, r.best_test_epoch_accuracy, r.learning_rate, r.held_out_accuracy]
        shown = ["" if value is None else value for value in values]
        writer.writerow([r.stage, protocol, r.seed, *shown, stage.n_features, str(stage.pooling)])
    write_atomically(file, text.getvalue().encode())
