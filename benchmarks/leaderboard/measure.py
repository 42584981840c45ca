"""One line of the leaderboard for one seed: train, judge, and what both took."""

import contextlib
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.leaderboard.judge import Judge, Labelled
from benchmarks.leaderboard.rows import Row
from benchmarks.leaderboard.sets import SplitImages
from benchmarks.settings import read_config
from deepcluster.data.images import ImageSet
from deepcluster.data.loader import n_workers
from deepcluster.data.views import feature_view
from deepcluster.evaluation.baselines import Baselines
from deepcluster.evaluation.probe.labelled_split import labelled_split
from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.features.extraction import FeaturePass, collect, feature_pass
from deepcluster.features.precision import choose_precision
from deepcluster.run.parts import build_parts, choose_device
from deepcluster.run.train import train
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig
from deepcluster.weights.network import load_backbone

# The program judges, so a run does not, and it writes nothing to look at; what is learned stays the same.
UNJUDGED = ("evaluation.enabled=false", "files.write=never", "page=false")
SECONDS = "seconds.json"  # in a run's folder: what its training has taken so far
LOG = "output.txt"
SMALLEST = {"n_train": 80, "n_test": 40}
_FEW = {"k": 5, "dim": 8, "batch": 16, "size": 32, "size_of_resnet": 16}


@dataclass(kw_only=True)
class Measurement:
    """Measures rows of one set.

    Args:
        images: of the set.
        data: overrides that name them.
        probe: the linear probe's settings.
        smallest: make everything tiny: to try the program.
        max_minutes: of a training, which then ends in the middle of an epoch; None: no limit.
    """

    images: SplitImages
    data: tuple[str, ...]
    probe: LinearProbe
    smallest: bool = False
    max_minutes: float | None = None

    def measure(self, row: Row, config: TrainConfig, folder: Path) -> dict[str, Any]:
        """Figures and seconds of a row.

        Args:
            config: of :meth:`config`.
            folder: of the run: new, or that of the same run, which goes on.

        Raises:
            ValueError: if the row's settings do not fit the images, or training stopped itself.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with self._stand_in(), printed_to(folder / LOG):
            spent: dict[str, Any] = {} if row.baseline is not None else _trained(config, folder)
            judging: dict[str, float] = {}
            with _timed(judging):
                figures = self._figures(config, row, folder)
        return {**figures, **spent, "judge_cpu_s": judging["cpu_s"], "judge_wall_s": judging["wall_s"]}

    def load(self) -> None:
        """Load the images, so that what is wrong with them is told before anything is measured.

        Raises:
            FileNotFoundError, ValueError: naming it.
        """
        config = read_config(self.data)
        for split in ("train", "test"):
            self.images(config.data, config.reading, split)

    def config(self, row: Row, seed: int) -> TrainConfig:
        """The settings of a row's run.

        Raises:
            ValueError: if they do not go together.
        """
        limit = [] if self.max_minutes is None else [f"+trainer.max_time={{seconds:{round(60 * self.max_minutes)}}}"]
        config = read_config([*row.overrides, *self.data, *UNJUDGED, f"seed={seed}", *limit])
        return tiny(config) if self.smallest else config

    def _stand_in(self) -> Any:
        return mock.patch("deepcluster.run.parts.load_images", self.images)

    def _figures(self, config: TrainConfig, row: Row, folder: Path) -> dict[str, float]:
        train_images, test_images = (self.images(config.data, config.reading, split) for split in ("train", "test"))
        device = choose_device(config.trainer)
        judge = Judge(
            images=Labelled(train=train_images, test=test_images), probe=self.probe, seed=config.seed, device=device
        )
        if row.baseline is not None:
            return judge.baseline(*baseline_rows(config, row.baseline, train_images, test_images))
        backbone, card = load_backbone(folder / "checkpoints" / "final.ckpt")
        batch_size = config.extraction.batch_size

        def pass_of(images: ImageSet, **options: Any) -> FeaturePass:
            return feature_pass(
                backbone,
                images,
                feature_view(config.view, images, card["mean"], card["std"]),
                batch_size=batch_size,
                num_workers=n_workers(config.reading.num_workers, images, batch_size=batch_size, size=config.view.size),
                device=device,
                dtype=choose_precision(config.trainer["precision"], device).extraction,
                **options,
            )

        return judge.network(backbone, pass_of)


def baseline_rows(config: TrainConfig, name: str, train_images: ImageSet, test_images: ImageSet) -> list[Tensor]:
    """Rows of pixels or patches, of both sets, as a run measures them."""
    parts, evaluation = build_parts(config), config.evaluation
    baselines = Baselines(
        images=train_images,
        split=labelled_split(
            train_images,
            test_images,
            max_images=evaluation.max_images,
            test_share=evaluation.test_share,
            seed=config.seed,
        ),
        view=parts.view(train_images),
        crop=parts.train_view.crops[0],
        mean=parts.card["mean"],
        std=parts.card["std"],
        k=2,  # for sets without labels
        settings=evaluation,
        seed=config.seed,
        batch_size=config.extraction.batch_size,
        num_workers=parts.num_workers,
        device=parts.device,
    )
    small = baselines.network()
    small.learn(train_images, baselines.small_view(train_images), seed=config.seed, device=parts.device)
    small.to(parts.device).eval()
    return [
        collect(baselines.feature_pass(small, images), torch.arange(len(images)))[:, small.columns[name]].contiguous()
        for images in (train_images, test_images)
    ]


def _trained(config: TrainConfig, folder: Path) -> dict[str, Any]:
    """Train to the end, from the folder's last checkpoint if there is one.

    Returns:
        epochs, and the seconds of all starts.
    """
    file, summary = folder / SECONDS, folder / "summary.json"
    if not summary.is_file():
        _train_on(config, folder, file)
    return {"epochs": json.loads(summary.read_text())["epochs"], **json.loads(file.read_text())}


def _train_on(config: TrainConfig, folder: Path, file: Path) -> None:
    """Start or resume, and add the seconds to those in `file`."""
    before = json.loads(file.read_text()) if file.is_file() else {"train_cpu_s": 0.0, "train_wall_s": 0.0}
    if (folder / "config.yaml").is_file():
        store_dtype = read_stored_config(folder / "config.yaml").extraction.store_dtype
        config = replace(config, resume=str(folder), extraction=replace(config.extraction, store_dtype=store_dtype))
    training: dict[str, float] = {}
    try:
        with _timed(training):
            train(config, folder)
    finally:
        spent = {f"train_{name}": round(before[f"train_{name}"] + value, 1) for name, value in training.items()}
        file.write_text(json.dumps(spent))


@contextlib.contextmanager
def printed_to(file: Path) -> Iterator[None]:
    """What a run prints goes into a file."""
    with file.open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield


@contextlib.contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Add seconds of processors (this process and its children that have ended) and of the clock to `spent`."""

    def cpu() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    clock, processor = time.perf_counter(), cpu()
    try:
        yield
    finally:
        spent |= {"cpu_s": round(cpu() - processor, 1), "wall_s": round(time.perf_counter() - clock, 1)}


def tiny(config: TrainConfig) -> TrainConfig:
    """The same run with few clusters, small batches and one epoch."""
    clustering, dim = config.clustering, config.reduction.dim
    if hasattr(clustering, "k"):
        clustering = replace(clustering, k=_FEW["k"])  # type: ignore[call-arg]
    others = config.other_rows
    if others.kind != "none" and others.reduction.dim is not None:
        others = replace(others, reduction=replace(others.reduction, dim=_FEW["dim"]))
    size = _FEW["size_of_resnet" if config.arch["_target_"].endswith(".resnet") else "size"]
    return replace(
        config,
        clustering=clustering,
        other_rows=others,
        reduction=replace(config.reduction, dim=dim and min(dim, _FEW["dim"])),
        reading=replace(config.reading, batch_size=_FEW["batch"]),
        view=replace(config.view, size=min(config.view.size, size)),
        trainer={**config.trainer, "max_epochs": min(1, config.trainer["max_epochs"])},
    )
