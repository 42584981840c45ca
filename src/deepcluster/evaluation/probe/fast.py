"""The fast probe: features of all stages in one pass, then softmax regressions. Next: linear_probe.py."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from deepcluster.evaluation.classifier import StageClassifier
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.kept_work import KeptWork
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.evaluation.probe.stage_features import collect_stages, grouped
from deepcluster.evaluation.probe.stage_results import StageResult
from deepcluster.evaluation.probe.stages import Stage
from deepcluster.system.seeding import mix

NAME = "linear_probe_fast"


def probe_fast(
    context: EvaluationContext,
    split: LabelledSplit,
    stages: Sequence[Stage],
    settings: LinearProbe,
    *,
    n_seeds: int,
    memory_gb: float,
    kept_work: KeptWork,
) -> list[StageResult]:
    """Train and test a linear probe on each stage; skips finished stages. Saves the classifiers of the first seed.

    Args:
        split: images to train and to test on.
        n_seeds: repetitions; the seed draws the held-out part and the order of the batches.
        memory_gb: GB (1e9 bytes) for features; stages that do not fit together need more passes over the images.
        kept_work: saved results of finished stages.

    Returns:
        One result for each stage and seed.

    Raises:
        ValueError: if a single stage does not fit into memory.
    """
    groups = grouped(stages, len(split.train_indices) + len(split.test_indices), memory_gb)
    done = {name: [StageResult(**row) for row in rows] for name, rows in (kept_work.read(NAME) or {}).items()}
    if done:
        context.progress.say(f"stages finished by an earlier call: {', '.join(done)}")
    for group in groups:
        missing = [stage for stage in group if stage.name not in done]
        for stage, features in _features(context, split, missing):
            done[stage.name] = _probe_stage(context, split, stage, features, settings, n_seeds)
            kept_work.write(NAME, {name: [asdict(result) for result in results] for name, results in done.items()})
    return [result for stage in stages for result in done[stage.name]]


@dataclass(kw_only=True)
class _StageFeatures:
    """float16 (n, M) of training and test images; multiplied by `scale` they are the features."""

    train_x: Tensor
    test_x: Tensor
    scale: float


def _features(
    context: EvaluationContext, split: LabelledSplit, stages: list[Stage]
) -> Iterator[tuple[Stage, _StageFeatures]]:
    """Yield each stage with its features, all from one pass; yielded features are no longer held here."""
    if not stages:
        return
    taps = {stage.name: stage.pooling for stage in stages}
    scales: list[float] = []
    sets = (
        ("features, training images", split.train, split.train_indices),
        ("features, test images", split.test, split.test_indices),
    )
    matrices = []
    for title, images, indices in sets:
        with context.progress.bar(title, len(indices), "img") as advance:
            feature_pass = context.feature_pass(images, taps=taps)
            matrices.append(collect_stages(feature_pass, indices, stages, scales, advance))
    for stage, scale in zip(stages, scales, strict=True):
        train_x, test_x = (matrix.pop(0).to(context.device) for matrix in matrices)
        yield stage, _StageFeatures(train_x=train_x, test_x=test_x, scale=scale)


def _probe_stage(
    context: EvaluationContext,
    split: LabelledSplit,
    stage: Stage,
    features: _StageFeatures,
    settings: LinearProbe,
    n_seeds: int,
) -> list[StageResult]:
    train_y, test_y = split.train_y.to(context.device), split.test_y.to(context.device)
    results: list[StageResult] = []
    n_epochs = n_seeds * settings.epochs * (2 if len(settings.learning_rates) > 1 else 1)
    with context.progress.bar(f"probe of {stage.name}", n_epochs, "epoch") as advance:
        for number in range(n_seeds):
            seed = mix(context.seed, "probe", number) if number else mix(context.seed, "probe")
            probe = fit_probe(features.train_x, train_y, features.test_x, test_y, settings, seed, advance)
            if number == 0:
                StageClassifier(
                    stage=stage,
                    weight=probe.weight / features.scale,
                    bias=probe.bias,
                    classes=split.train.classes,
                    resize=context.view.resize or context.view.size,
                    accuracy=probe.accuracy,
                ).save(context.folder)
            results.append(
                StageResult(
                    stage=stage.name,
                    seed=number,
                    accuracy=probe.accuracy,
                    learning_rate=probe.learning_rate,
                    held_out_accuracy=max(probe.held_out_accuracies, default=None),
                )
            )
    return results
