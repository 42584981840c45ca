"""One evaluation, from a file of weights to results.json. eval.py calls `evaluate`; Next: evaluation/context.py."""

import json
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING

from deepcluster import recognise, weights
from deepcluster.atomic import write_atomically
from deepcluster.config import TrainConfig, typed
from deepcluster.config import load as load_config
from deepcluster.data.settings import Data
from deepcluster.evaluation.context import EvaluationContext, Evaluator
from deepcluster.training.features import Extraction
from deepcluster.training.precision import choose_precision
from deepcluster.training.progress import Progress


@dataclass(kw_only=True)
class EvalConfig:
    """configs/eval.yaml, typed. The network is the checkpoint's: `arch` only takes what data=folder brings along."""

    ckpt: str
    data: Data | None = None
    arch: dict[str, Any] | None = None
    evaluation: Evaluator = MISSING
    extraction: Extraction = field(default_factory=Extraction)
    seed: int = 1
    output_dir: str | None = None


def evaluate(config: EvalConfig, folder: Path) -> dict[str, Any]:
    """Evaluate the network of a checkpoint or another file (recognise.py); results go to `folder`.

    Returns:
        The content of results.json.

    Raises:
        ValueError: if the file, the images or what is asked of them do not fit together.
    """
    stored = recognise.load(config.ckpt)
    card, progress = stored.card, Progress()
    assert card is not None
    run_data = _data_of_run(stored.path, needed=config.data is None)
    data = config.data or copy(run_data)
    if data is not None:
        data.size, data.resize, data.n_channels = card["image_size"], card["resize"], card["in_channels"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    context = EvaluationContext(
        backbone=weights.build_backbone(stored),
        stored=stored,
        data_settings=data,
        extraction=config.extraction,
        folder=folder,
        seed=config.seed,
        progress=progress,
        device=device,
        dtype=choose_precision("auto", device).extraction,
        run_data=run_data,
    )
    results: dict[str, Any] = {"ckpt": str(stored.path), "epochs": stored.epoch, **config.evaluation.run(context)}
    write_atomically(folder / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    progress.say(f"results    {folder / 'results.json'}")
    return results


def _data_of_run(path: Path, *, needed: bool) -> Data | None:
    """The images that the checkpoint's run learned from; None if the file does not lie in a run's folder.

    Raises:
        ValueError: if they are needed, and the run's config is of another version.
    """
    file = path.parent.parent / "config.yaml"
    if not file.is_file():
        return None
    try:
        stored = typed(load_config(file))
    except ValueError:
        if needed:
            raise
        return None
    assert isinstance(stored, TrainConfig)
    return stored.data
