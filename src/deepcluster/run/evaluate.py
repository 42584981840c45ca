"""One evaluation, from a file of weights to results.json. eval.py calls `evaluate`; Next: evaluation/context.py."""

import json
import logging
import math
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from deepcluster.data.settings import Data
from deepcluster.data.sources.load import load as load_images
from deepcluster.data.statistics import statistics
from deepcluster.evaluation.context import EvaluationContext, Untrained
from deepcluster.features.precision import choose_precision
from deepcluster.models.backbone import Backbone
from deepcluster.run.result_log import log_results, result_log
from deepcluster.settings.eval import EvalConfig, data_of_run, folder_of_run
from deepcluster.system.atomic import write_atomically
from deepcluster.system.progress import Progress
from deepcluster.weights.network import build_backbone
from deepcluster.weights.recognise import Weights, read_weights_with_card
from deepcluster.weights.start import RandomInit


def evaluate(config: EvalConfig, folder: Path) -> dict[str, Any]:
    """Evaluate the network of a checkpoint or another file (recognise.py); results go to `folder`.

    Returns:
        The content of results.json.

    Raises:
        ValueError: if the file, the images or what is asked of them do not fit together.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # which instructions it tried
    progress = Progress()
    context = (
        _of_checkpoint(config, folder, progress) if config.ckpt is not None else _of_arch(config, folder, progress)
    )
    stored = context.stored
    with result_log(config, folder, folder_of_run(stored.path), progress) as recorder:
        network = {"arch": context.card["arch"]} if context.untrained is not None else {"ckpt": str(stored.path)}
        numbers = {name: _finite(value) for name, value in config.evaluation.run(context).items()}
        results: dict[str, Any] = {**network, "epochs": stored.epoch, **numbers}
        content = json.dumps(results, indent=2, allow_nan=False) + "\n"
        write_atomically(folder / "results.json", content.encode())
        progress.say(f"results    {folder / 'results.json'}")
        if recorder is not None:
            log_results(recorder, results, epoch=stored.epoch, kind=config.logger.kind, progress=progress)
    return results


def _finite(value: float) -> float | None:
    """JSON has no NaN: what could not be measured is null there."""
    return value if math.isfinite(value) else None


def _of_checkpoint(config: EvalConfig, folder: Path, progress: Progress) -> EvaluationContext:
    """The network of a file."""
    assert config.ckpt is not None
    stored = read_weights_with_card(config.ckpt)
    card = stored.card
    assert card is not None
    run_data, unknown = None, ""
    try:
        run_data = data_of_run(stored.path)
    except ValueError as error:  # of no matter to those that need no images, or were told which
        unknown = str(error)
    data = config.data or copy(run_data)
    if data is not None:
        data.size, data.resize, data.n_channels = card["image_size"], card["resize"], card["in_channels"]
    context = _context(config, folder, progress, build_backbone(card, weights=stored), stored, data)
    context.run_data, context.images_unknown = run_data, unknown
    return context


def _of_arch(config: EvalConfig, folder: Path, progress: Progress) -> EvaluationContext:
    """Untrained networks, as train.py would start with them on these images."""
    arch, data, init = config.arch, config.data, config.init or RandomInit()
    assert arch is not None and data is not None
    images = load_images(data, "train")
    assert images is not None
    mean, std = statistics(images, data)
    card = {
        "arch": arch,
        "in_channels": images.n_channels,
        "image_size": data.size,
        "resize": data.resize or data.size,
        "mean": mean,
        "std": std,
    }

    def before_init(seed: int) -> Backbone:
        return build_backbone(card, seed=seed)

    def draw(seed: int) -> Backbone:
        backbone = before_init(seed)
        init.apply(backbone, card=card, images=images, seed=seed, device=_device())
        return backbone.eval()

    stored = Weights(path=Path(arch["_target_"]), format="untrained network", tensors={}, card=card)
    context = _context(config, folder, progress, before_init(config.seed).eval(), stored, data)
    context.untrained = Untrained(draw=draw, init=asdict(init))
    context.train_images = images
    return context


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _context(
    config: EvalConfig,
    folder: Path,
    progress: Progress,
    backbone: Backbone,
    stored: Weights,
    data: Data | None,
) -> EvaluationContext:
    device = _device()
    return EvaluationContext(
        backbone=backbone,
        stored=stored,
        data_settings=data,
        extraction=config.extraction,
        folder=folder,
        seed=config.seed,
        progress=progress,
        device=device,
        dtype=choose_precision("auto", device).extraction,
    )
