"""One evaluation, from a file of weights to results.json. eval.py calls `evaluate`; Next: evaluation/context.py."""

import json
import logging
from copy import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING

from deepcluster import recognise, weights
from deepcluster.atomic import write_atomically
from deepcluster.config import TrainConfig, typed
from deepcluster.config import load as load_config
from deepcluster.data.settings import Data
from deepcluster.data.sources import load as load_images
from deepcluster.data.statistics import statistics
from deepcluster.evaluation.context import EvaluationContext, Evaluator, Untrained
from deepcluster.initialise import Init, RandomInit, new_backbone
from deepcluster.models.backbone import Backbone
from deepcluster.recognise import Weights
from deepcluster.targets import check_target
from deepcluster.training.features import Extraction
from deepcluster.training.precision import choose_precision
from deepcluster.training.progress import Progress


@dataclass(kw_only=True)
class EvalConfig:
    """configs/eval.yaml, typed.

    Args:
        ckpt: the network: a run's folder or any file of weights (recognise.py). Without one, evaluations that need
            none measure untrained networks of `arch`.
        data: the images; None: those of the checkpoint's run.
        arch: without ckpt, the architecture; with one, what data=folder brings along, which is not looked at.
        init: without ckpt, how weights start; None: at random.
        evaluation: what to do.
        extraction: how features are computed.
        seed: of all that is drawn.
        output_dir: where results go; None: a new folder under runs/.
    """

    ckpt: str | None = None
    data: Data | None = None
    arch: dict[str, Any] | None = None
    init: Init | None = None
    evaluation: Evaluator = MISSING
    extraction: Extraction = field(default_factory=Extraction)
    seed: int = 1
    output_dir: str | None = None

    def __post_init__(self) -> None:
        name = f"evaluation={self.evaluation.kind}"
        if self.ckpt is not None:
            return
        if self.evaluation.needs_checkpoint:
            raise ValueError(f"{name} needs a network: add ckpt=RUN_OR_FILE, a run's folder or a file of weights")
        for group, value in (("arch", self.arch), ("data", self.data)):
            if value is None:
                raise ValueError(f"{name} without a checkpoint measures untrained networks: add {group}=OPTION")
        assert self.arch is not None
        check_target(self.arch, "arch", supplied=("in_channels", "image_size"))


def check_chosen(config: EvalConfig, overrides: list[str]) -> None:
    """Refuse to choose what a checkpoint decides, and a view of no images.

    Raises:
        ValueError: naming the override.
    """
    groups = [override.lstrip("+~").partition("=")[0].partition(".")[0] for override in overrides]
    for override, group in zip(overrides, groups, strict=True):
        if config.ckpt is not None and group in ("arch", "init", "view"):
            raise ValueError(f"{override}: the network of ckpt={config.ckpt} decides that; leave one of the two out")
        if group == "view" and "data" not in groups:
            raise ValueError(f"{override}: choose the images too, as in data=OPTION {override}")


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
    network = {"arch": context.card["arch"]} if context.untrained is not None else {"ckpt": str(stored.path)}
    results: dict[str, Any] = {**network, "epochs": stored.epoch, **config.evaluation.run(context)}
    write_atomically(folder / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    progress.say(f"results    {folder / 'results.json'}")
    return results


def _of_checkpoint(config: EvalConfig, folder: Path, progress: Progress) -> EvaluationContext:
    """The network of a file."""
    assert config.ckpt is not None
    stored = recognise.load(config.ckpt)
    card = stored.card
    assert card is not None
    run_data = _data_of_run(stored.path, needed=config.data is None)
    data = config.data or copy(run_data)
    if data is not None:
        data.size, data.resize, data.n_channels = card["image_size"], card["resize"], card["in_channels"]
    return _context(config, folder, progress, weights.build_backbone(stored), stored, data, run_data=run_data)


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
        return new_backbone(arch, in_channels=images.n_channels, image_size=data.size, seed=seed)

    def draw(seed: int) -> Backbone:
        backbone = before_init(seed)
        init.apply(backbone, card=card, images=images, seed=seed)
        return backbone.eval()

    stored = Weights(path=Path(arch["_target_"]), format="untrained network", tensors={}, card=card)
    context = _context(config, folder, progress, before_init(config.seed).eval(), stored, data)
    context.untrained = Untrained(draw=draw, init=asdict(init))
    context.train_images = images
    return context


def _context(
    config: EvalConfig,
    folder: Path,
    progress: Progress,
    backbone: Backbone,
    stored: Weights,
    data: Data | None,
    *,
    run_data: Data | None = None,
) -> EvaluationContext:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
        run_data=run_data,
    )


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
