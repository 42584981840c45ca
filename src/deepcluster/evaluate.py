"""One evaluation, from a file of weights to results.json. eval.py calls `evaluate`; Next: evaluation/context.py."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING, DictConfig, OmegaConf

from deepcluster import recognise, weights
from deepcluster.atomic import write_atomically
from deepcluster.config import TrainConfig, typed
from deepcluster.config import load as load_config
from deepcluster.data.settings import Data
from deepcluster.evaluation.context import EvaluationContext, Evaluator
from deepcluster.result_log import log_results, open_logger
from deepcluster.training.features import Extraction
from deepcluster.training.precision import choose_precision
from deepcluster.training.progress import Progress


@dataclass(kw_only=True)
class EvalConfig:
    """configs/eval.yaml, typed. The network is the checkpoint's: `arch` only takes what data=folder brings along."""

    ckpt: str
    data: Data | None = None  # None: the images that the checkpoint's run learned from
    arch: dict[str, Any] | None = None
    evaluation: Evaluator = MISSING
    extraction: Extraction = field(default_factory=Extraction)
    logger: dict[str, Any] = field(default_factory=dict)
    seed: int = 1
    output_dir: str | None = None


def schema() -> DictConfig:
    """EvalConfig for Hydra, which can change `data.KEY` only where there is a `data`; see :func:`with_images`."""
    node: DictConfig = OmegaConf.structured(EvalConfig)
    node.data = OmegaConf.structured(Data)
    return node


def with_images(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config with the images that the command line means: those of data=OPTION, else those of the run.

    Args:
        cfg: composed.
        overrides: what was typed. Without data=OPTION, `data.KEY=VALUE` changes what the run's config says.

    Raises:
        ValueError, FileNotFoundError: if such keys are given and the checkpoint lies in no run's folder.
    """
    typed_keys = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    if "data" in typed_keys:
        return cfg
    changes = [key for key in typed_keys if key.startswith("data.")]
    data, ckpt = None, OmegaConf.select(cfg, "ckpt")
    if changes and ckpt is not None:
        path = recognise.find(ckpt)
        run = _run_folder(path)
        if run is None:
            raise ValueError(
                f"{path} lies outside a run's folder, so its images are unknown and {changes[0]} changes none: "
                f"say which, as in data=OPTION {changes[0]}={typed_keys[changes[0]]}"
            )
        data = load_config(run / "config.yaml").data
        for key in changes:
            OmegaConf.update(data, key.removeprefix("data."), OmegaConf.select(cfg, key), merge=False)
    cfg.data = data
    return cfg


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
    data = config.data or _data_of_run(stored.path)
    if data is not None:
        data.size, data.resize, data.n_channels = card["image_size"], card["resize"], card["in_channels"]
    logger = open_logger(config.logger, config, folder, _run_folder(stored.path), progress)
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
    )
    results: dict[str, Any] = {"ckpt": str(stored.path), "epochs": stored.epoch, **config.evaluation.run(context)}
    write_atomically(folder / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    progress.say(f"results    {folder / 'results.json'}")
    if logger is not None:
        log_results(logger, results, epoch=stored.epoch)
    return results


def _run_folder(path: Path) -> Path | None:
    """The folder of the run that a checkpoint file belongs to, None if it lies in none."""
    folder = path.parent.parent
    return folder if (folder / "config.yaml").is_file() else None


def _data_of_run(path: Path) -> Data | None:
    """The images that the checkpoint's run learned from; None if the file does not lie in a run's folder."""
    run = _run_folder(path)
    if run is None:
        return None
    stored = typed(load_config(run / "config.yaml"))
    assert isinstance(stored, TrainConfig)
    return stored.data
