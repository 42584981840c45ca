"""One evaluation, from a file of weights to results.json. eval.py calls `evaluate`; next: evaluation/context.py."""

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Source
from deepcluster.data.sources.load import load as load_images
from deepcluster.data.statistics import statistics
from deepcluster.data.view_settings import View
from deepcluster.evaluation.context import EvaluationContext, Untrained
from deepcluster.features.precision import choose_precision
from deepcluster.features.settings import Extraction
from deepcluster.models.backbone import Backbone
from deepcluster.run.parts import network_card
from deepcluster.settings.eval import EvalConfig, folder_of_run, images_of_run
from deepcluster.system.atomic import write_atomically
from deepcluster.system.progress import Progress
from deepcluster.tracking.settings import LoggerSettings
from deepcluster.tracking.tracked_run import TrackedRun
from deepcluster.tracking.tracker import Tracker
from deepcluster.weights.files import reading_of_export
from deepcluster.weights.network import build_backbone
from deepcluster.weights.onnx_start import check_channels
from deepcluster.weights.recognise import Weights, read_weights_with_card
from deepcluster.weights.start import Init, RandomInit


def evaluate(config: EvalConfig, folder: Path) -> dict[str, Any]:
    """Evaluate the network of a checkpoint or of another weights file (weights/recognise.py); write into `folder`.

    Returns:
        The content of results.json, which an evaluation that only tells does not write.

    Raises:
        ValueError: if weights, images and evaluation do not fit together.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # hides the instruction sets it tried
    progress = Progress()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    context_of = contexts(
        folder, config.extraction, seed=config.seed, precision=config.precision, device=device, progress=progress
    )
    if config.ckpt is not None:
        context = context_of_file(config.ckpt, config.data, config.reading, config.view, context_of)
    else:
        assert config.arch is not None and config.data is not None
        reading, view, init = config.reading or Reading(), config.view or View(), config.init or RandomInit()
        context = context_of_architecture(
            config.arch, config.data, reading, view, init, config.seed, device, context_of
        )
    stored = context.stored
    run = TrackedRun(
        folder=folder, config=asdict(config), say=progress.say, job="eval", of_run=folder_of_run(stored.path)
    )
    with open_tracker(config.logger, run) as tracker:
        network = {"arch": context.card["arch"]} if context.untrained is not None else {"ckpt": str(stored.path)}
        numbers = {name: _finite(value) for name, value in config.evaluation.run(context).items()}
        results: dict[str, Any] = {**network, "epochs": stored.epoch, **numbers}
        if not config.evaluation.keeps_results:
            return results
        content = json.dumps(results, indent=2, allow_nan=False) + "\n"
        write_atomically(folder / "results.json", content.encode())
        progress.say(f"results    {folder / 'results.json'}")
        if tracker is not None:
            log_results(tracker, results, epoch=stored.epoch)
    return results


def contexts(
    folder: Path,
    extraction: Extraction,
    *,
    seed: int,
    precision: str = "auto",
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> Callable[..., EvaluationContext]:
    """What builds an EvaluationContext from a network and its images.

    Args:
        folder: where results go.
        precision: as in `eval.py precision=` and `trainer.precision`.
        device: None: a GPU, if there is one.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return partial(
        EvaluationContext,
        extraction=extraction,
        folder=folder,
        seed=seed,
        progress=progress or Progress(),
        device=device,
        dtype=choose_precision(precision, device).extraction,
    )


def _finite(value: float) -> float | None:
    """None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def context_of_file(
    ckpt: str,
    data: Source | None,
    reading: Reading | None,
    view: View | None,
    context_of: Callable[..., EvaluationContext],
) -> EvaluationContext:
    """The evaluation of the network in a file.

    Args:
        ckpt: a run's folder or a file of weights.
        data: the images; None: those of the checkpoint's run.
        reading: how they are read; None: as in that run.
        view: how they are cropped; None: as in that run. The size is always the network's.
        context_of: builds the context from the network and the images.
    """
    stored = read_weights_with_card(ckpt)
    card = stored.card
    assert card is not None
    run_data, run_reading, run_view, unknown = None, _reading_of_bundle(stored.path), View(), ""
    try:
        run_data, run_reading, run_view = images_of_run(stored.path)
    except ValueError as error:  # an evaluation that needs images raises it, unless `data` names them
        unknown = str(error)
    data = data or run_data
    context: EvaluationContext = context_of(
        backbone=build_backbone(card, weights=stored),
        stored=stored,
        data_settings=None if data is None else replace(data, n_channels=card["in_channels"]),
        reading=reading or run_reading,
        view=replace(view or run_view, size=card["image_size"], resize=card["resize"]),
        run_data=run_data,
        images_unknown=unknown,
    )
    for note in stored.notes:
        context.progress.say(f"network    {note}")
    return context


def _reading_of_bundle(file: Path) -> Reading:
    """How a bundle says that pictures are read; as it is by default for other files.

    Raises:
        ValueError: if it says what is not possible.
    """
    try:
        return Reading(**reading_of_export(file))
    except TypeError as error:
        raise ValueError(f"{file.with_suffix('.json')} was changed: its reading is not possible ({error})") from error


def context_of_architecture(
    arch: dict[str, Any],
    data: Source,
    reading: Reading,
    view: View,
    init: Init,
    seed: int,
    device: torch.device,
    context_of: Callable[..., EvaluationContext],
) -> EvaluationContext:
    """The evaluation of untrained networks, initialised as train.py would on these images."""
    arch, view, n_taken = init.network(arch, view)
    images = load_images(data, reading, "train")
    assert images is not None
    check_channels(n_taken, images.n_channels)
    mean, std = statistics(images, view, data, reading)
    card = network_card(arch, view, images.n_channels, mean, std)

    def draw(seed: int) -> Backbone:
        backbone = build_backbone(card, seed=seed)
        init.apply(backbone, card=card, images=images, seed=seed, device=device)
        return backbone.eval()

    return context_of(
        backbone=build_backbone(card, seed=seed).eval(),
        stored=Weights(path=Path(arch["_target_"]), format="untrained network", tensors={}, card=card),
        data_settings=data,
        reading=reading,
        view=view,
        untrained=Untrained(draw=draw, init=asdict(init)),
        loaded_images=images,
    )


@contextmanager
def open_tracker(logger: LoggerSettings, run: TrackedRun) -> Iterator[Tracker | None]:
    """Open the tracker, if one is chosen; close it with the status with which the evaluation ended.

    Raises:
        ValueError: if the tracker cannot be reached.
    """
    tracker = logger.open(run)
    status = "failed"
    try:
        yield tracker
        status = "finished"
    except (KeyboardInterrupt, SystemExit):
        status = "stopped"
        raise
    finally:
        if tracker is not None:
            tracker.attempt(lambda: tracker.close(status))


def log_results(tracker: Tracker, results: dict[str, Any], *, epoch: int) -> None:
    """Log the numbers of results.json as eval/NAME.

    Args:
        epoch: how many epochs the evaluated network was trained; the x axis.
    """
    numbers = {f"eval/{name}": float(value) for name, value in results.items() if isinstance(value, int | float)}
    tracker.attempt(lambda: tracker.log_summary(numbers, epoch))
