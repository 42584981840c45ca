"""configs/eval.yaml, typed, and which of its settings exclude each other. Next: run/evaluate.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Data
from deepcluster.data.view_settings import View
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.features.settings import Extraction
from deepcluster.settings.composed import as_dataclass, check_kinds
from deepcluster.settings.options import EVAL_OPTIONS, OPTIONS
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig
from deepcluster.system.setting import check, setting
from deepcluster.system.targets import check_target
from deepcluster.tracking.settings import LoggerSettings
from deepcluster.weights.files import find_weights
from deepcluster.weights.start import Init

SET_BY_CHECKPOINT = ("view", "view.size", "view.resize", "data.n_channels")  # the network's input


@dataclass(kw_only=True)
class EvalConfig:
    """configs/eval.yaml, typed.

    Args:
        ckpt: the network: a run's folder or any file of weights (recognise.py). Without it, some evaluations measure
            untrained networks of `arch`.
        data: the images; None: those of the checkpoint's run.
        reading: how they are read; None: as that run says.
        view: how they are cropped; None: as that run says.
        arch: without ckpt, the architecture.
        init: without ckpt, how weights start; None: at random.
        evaluation: the evaluation and its settings.
        extraction: how features are computed.
        logger: the tracker that logs the results besides results.json.
        seed: of all random numbers.
        output_dir: the folder of the results; None: a new folder under runs/.
    """

    ckpt: str | None = None
    data: Data | None = None
    reading: Reading | None = None
    view: View | None = None
    arch: dict[str, Any] | None = None
    init: Init | None = None
    evaluation: Evaluator = MISSING
    extraction: Extraction = field(default_factory=Extraction)
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    seed: int = setting(1, at_least=0)
    output_dir: str | None = None

    def __post_init__(self) -> None:
        check(self, "")
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


def eval_schema() -> DictConfig:
    """EvalConfig for Hydra, which accepts `data.KEY=VALUE` only where `data` is not None; see :func:`with_images`."""
    node: DictConfig = OmegaConf.structured(EvalConfig)
    node.data, node.reading, node.view = map(OmegaConf.structured, (Data, Reading, View))
    return node


def check_chosen(config: EvalConfig, overrides: list[str]) -> None:
    """Refuse overrides of what a checkpoint decides.

    Raises:
        ValueError: naming the override.
    """
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if config.ckpt is not None and (key.partition(".")[0] in ("arch", "init") or key in SET_BY_CHECKPOINT):
            raise ValueError(f"{override}: the network of ckpt={config.ckpt} decides that; leave one of the two out")


def with_images(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config with the images to evaluate on: those of data=OPTION, else those of the checkpoint's run.

    Args:
        cfg: the composed config.
        overrides: what was typed. Without data=OPTION, `data.KEY=VALUE`, `reading.KEY=VALUE` and `view.KEY=VALUE`
            change what the run's config says; with it, the run still says how JPEGs are decoded, unless
            reading.decode is typed too.

    Raises:
        ValueError, FileNotFoundError: if such keys are given and the checkpoint lies in no run's folder.
    """
    typed_keys = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    if "data" in typed_keys:
        if "reading.decode" not in typed_keys:
            _decode_as_the_run(cfg)
        return cfg
    changes = [key for key in typed_keys if key.startswith(("data.", "reading.", "view."))]
    data, reading, view, ckpt = None, None, None, OmegaConf.select(cfg, "ckpt")
    if changes and ckpt is not None:
        path = find_weights(ckpt)
        run = folder_of_run(path)
        if run is None:
            raise ValueError(
                f"{path} lies outside a run's folder, so its images are unknown and {changes[0]} changes none: "
                f"say which, as in data=OPTION {changes[0]}={typed_keys[changes[0]]}"
            )
        stored = read_stored_config(run / "config.yaml")
        for key in changes:
            OmegaConf.update(stored, key, OmegaConf.select(cfg, key), merge=False)
        data, reading, view = stored.data, stored.reading, stored.view
    cfg.data, cfg.reading, cfg.view = data, reading, view
    return cfg


def _decode_as_the_run(cfg: DictConfig) -> None:
    """Other images are decoded as those were that the network learned from, whatever their group says."""
    if cfg.ckpt is None:
        return
    try:
        run = folder_of_run(find_weights(cfg.ckpt))
        stored = None if run is None else read_stored_config(run / "config.yaml").reading
    except (ValueError, FileNotFoundError):  # reported later; of a run of another version only the weights are needed
        return
    if stored is not None:
        cfg.reading.decode = stored.decode


def folder_of_run(path: Path) -> Path | None:
    """The folder of the run that a checkpoint file belongs to; None if it lies in no run's folder."""
    folder = path.parent.parent
    return folder if (folder / "config.yaml").is_file() else None


def images_of_run(path: Path) -> tuple[Data, Reading, View]:
    """The images that the checkpoint's run learned from, and how it read and cropped them.

    Raises:
        ValueError: if the file does not lie in a run's folder, or the run's config is of another version.
    """
    run = folder_of_run(path)
    if run is None:
        raise ValueError(f"{path} lies outside a run's folder, so its images are unknown: say data=... as well")
    try:
        stored = as_dataclass(read_stored_config(run / "config.yaml"))
    except ValueError as error:
        raise ValueError(f"{error}; say data=... as well, to name the images yourself") from error
    assert isinstance(stored, TrainConfig)
    return stored.data, stored.reading, stored.view


def eval_config(cfg: DictConfig, overrides: list[str]) -> EvalConfig:
    """The settings of a composed config, all checked.

    Args:
        cfg: the composed config.
        overrides: the typed overrides.

    Raises:
        ValueError: if a value or a combination is not possible.
    """
    settings = as_dataclass(with_images(cfg, overrides))
    assert isinstance(settings, EvalConfig)
    check_kinds(settings, {**EVAL_OPTIONS, "logger": OPTIONS["logger"]})
    settings.logger.check()
    if settings.data is not None and settings.view is not None:
        settings.view.check_channels(settings.data.n_channels)
    if settings.data is not None and settings.reading is not None:
        settings.data.check_reading(settings.reading)
    if settings.init is not None:
        check_kinds(settings, {"init": OPTIONS["init"]})
    check_chosen(settings, overrides)
    return settings
