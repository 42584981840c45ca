"""The fast probe: features of every stage in one pass, then lines at several learning rates. Next: stage_probe.py."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from deepcluster.evaluation.classifier import StageClassifier, file_of
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.probe.linear_probe import LinearProbe, fit_probe
from deepcluster.evaluation.probe.representation import LabelledSplit
from deepcluster.evaluation.probe.stage_features import collect_stages, grouped
from deepcluster.evaluation.probe.stages import Stage
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import mix

STATE = "linear_probe_fast.json"


@dataclass(kw_only=True)
class StageResult:
    """What a probe of one stage found with one seed.

    Args:
        stage: its name.
        seed: the number of the repetition, from 0.
        accuracy: share of the test images that are right, after the last epoch.
        learning_rate: of the fast probe the chosen one.
        held_out_accuracy: fast: of that rate, on the part of the training images that it was not trained on.
        best_test_epoch_accuracy: original: the best of all epochs on the test images, which the 2018 code reports.
    """

    stage: str
    seed: int
    accuracy: float
    learning_rate: float
    held_out_accuracy: float | None = None
    best_test_epoch_accuracy: float | None = None


def probe_fast(
    context: EvaluationContext,
    split: LabelledSplit,
    stages: Sequence[Stage],
    settings: LinearProbe,
    *,
    n_seeds: int,
    memory_gb: float,
    fingerprint: str,
) -> list[StageResult]:
    """Train and test a line on each stage, and save the first seed's; stages that are done are remembered.

    Args:
        split: images to learn from and to test on.
        n_seeds: how often; the seed draws the part that is held out and the order of the batches.
        memory_gb: for features; stages that do not fit together cost one pass over the images each.
        fingerprint: of all that decides the result (same_work.py).

    Returns:
        One result per stage and seed.

    Raises:
        ValueError: if one stage does not fit into memory.
    """
    groups = grouped(stages, len(split.train_indices) + len(split.test_indices), memory_gb)
    state = context.folder / STATE
    done = _read_state(state, fingerprint)
    if done:
        context.progress.say(f"done before: {', '.join(done)}")
    for group in groups:
        missing = [stage for stage in group if stage.name not in done]
        for stage, features in _features(context, split, missing):
            done[stage.name] = _probe_stage(context, split, stage, features, settings, n_seeds)
            plain = {name: [asdict(result) for result in results] for name, results in done.items()}
            write_atomically(state, json.dumps({"fingerprint": fingerprint, "done": plain}).encode())
    return [result for stage in stages for result in done[stage.name]]


@dataclass(kw_only=True)
class _StageFeatures:
    """float16 (n, M) of the training and of the test images; times `scale` they are the features."""

    train_x: Tensor
    test_x: Tensor
    scale: float


def _features(
    context: EvaluationContext, split: LabelledSplit, stages: list[Stage]
) -> Iterator[tuple[Stage, _StageFeatures]]:
    """Each stage with its features, all from one pass; what was given is no longer held here."""
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
            source = context.source(images, taps=taps)
            matrices.append(collect_stages(source, indices, stages, scales, advance))
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
    assert split.train.labels is not None and split.test.labels is not None
    train_y = split.train.labels[split.train_indices].to(context.device)
    test_y = split.test.labels[split.test_indices].to(context.device)
    results: list[StageResult] = []
    n_epochs = n_seeds * settings.epochs * (2 if len(settings.learning_rates) > 1 else 1)
    with context.progress.bar(f"probe of {stage.name}", n_epochs, "epoch") as advance:
        for number in range(n_seeds):
            seed = mix(context.seed, "probe", number) if number else mix(context.seed, "probe")
            found = fit_probe(features.train_x, train_y, features.test_x, test_y, settings, seed, advance)
            if number == 0:
                StageClassifier(
                    stage=stage,
                    weight=found.weight / features.scale,
                    bias=found.bias,
                    classes=split.train.classes,
                    resize=context.data.resize or context.data.size,
                    accuracy=found.accuracy,
                ).save(context.folder / file_of(stage.name))
            results.append(
                StageResult(
                    stage=stage.name,
                    seed=number,
                    accuracy=found.accuracy,
                    learning_rate=found.learning_rate,
                    held_out_accuracy=max(found.held_out_accuracies, default=None),
                )
            )
    return results


def _read_state(file: Path, fingerprint: str) -> dict[str, list[StageResult]]:
    """What was done before, by stage; nothing if it was of other weights, images or settings."""
    if not file.is_file():
        return {}
    try:
        stored = json.loads(file.read_text())
        if stored["fingerprint"] != fingerprint:
            return {}
        return {name: [StageResult(**result) for result in results] for name, results in stored["done"].items()}
    except (ValueError, TypeError, KeyError):  # another program's
        return {}
