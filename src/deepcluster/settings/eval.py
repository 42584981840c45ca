"""configs/eval.yaml, typed, and which of its settings exclude each other. Next: run/evaluate.py."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Source
from deepcluster.data.view_settings import View
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.features.settings import Extraction
from deepcluster.settings.composed import as_dataclass, check_kinds, check_root
from deepcluster.settings.options import EVAL_OPTIONS, OPTIONS
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig
from deepcluster.system.setting import check, setting
from deepcluster.system.targets import check_target
from deepcluster.tracking.settings import LoggerSettings
from deepcluster.weights.files import find_weights, reading_of_export
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
        precision: "auto": features in bf16 where the machine computes in it, else in fp32; "32-true": fp32 everywhere,
            as published figures are; "bf16-mixed": bf16 everywhere.
        seed: of all random numbers.
        output_dir: the folder of the results; None: a new folder under runs/.
    """

    ckpt: str | None = setting(None, is_path=True)
    data: Source | None = None
    reading: Reading | None = None
    view: View | None = None
    arch: dict[str, Any] | None = None
    init: Init | None = None
    evaluation: Evaluator = MISSING
    extraction: Extraction = field(default_factory=Extraction)
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    precision: str = setting("auto", one_of=("auto", "32-true", "bf16-mixed"))
    seed: int = setting(1, at_least=0)
    output_dir: str | None = setting(None, is_path=True)

    def __post_init__(self) -> None:
        check(self, "")
        if self.view is not None:
            self.view.check_batch((self.reading or Reading()).batch_size, getattr(self.data, "n_channels", None))
        name = f"evaluation={self.evaluation.kind}"
        if self.ckpt is not None:
            return
        if self.evaluation.needs_checkpoint:
            raise ValueError(f"{name} needs a network: add ckpt=RUN_OR_FILE, a run's folder or a file of weights")
        for group, value in (("arch", self.arch), ("data", self.data)):
            if value is None:
                raise ValueError(f"{name} without ckpt=RUN measures untrained networks: add {group}=OPTION")
        assert self.arch is not None
        check_target(self.arch, "arch", supplied=("in_channels", "image_size"))


@dataclass(kw_only=True)
class _ComposedEval(EvalConfig):
    """EvalConfig for Hydra, which accepts GROUP.KEY=VALUE only where the group is not None; see :func:`with_images`."""

    data: Any = field(default_factory=dict)  # of any kind: which one the checkpoint's run says
    reading: Reading | None = field(default_factory=Reading)
    view: View | None = field(default_factory=View)


def eval_schema() -> DictConfig:
    """EvalConfig for Hydra, with any `data.KEY`: those of the checkpoint's run are known later."""
    node: DictConfig = OmegaConf.structured(_ComposedEval)
    OmegaConf.set_struct(node.data, False)
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
            change what the run's config says; with it, the run still says how images are decoded, unless
            reading.decode, reading.max_value or reading.stored_size is typed too.

    Raises:
        ValueError, FileNotFoundError: if such keys are given and the checkpoint lies in no run's folder.
    """
    typed_keys = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    if "data" in typed_keys:
        of_run = {
            name: value for name, value in _decoding_of_run(cfg.ckpt).items() if f"reading.{name}" not in typed_keys
        }
        return _changed(cfg, reading=OmegaConf.merge(cfg.reading, of_run)) if of_run else cfg
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
    return _changed(cfg, data=data, reading=reading, view=view)


def _changed(cfg: DictConfig, **groups: Any) -> DictConfig:
    """A copy with other groups."""
    copied = copy.copy(cfg)
    for name, group in groups.items():
        copied[name] = group
    return copied


def _decoding_of_run(ckpt: str | None) -> dict[str, Any]:
    """What the checkpoint's run, or the bundle, says of decoding: other images become pixels as those learned from."""
    if ckpt is None:
        return {}
    try:
        file = find_weights(ckpt)
        run = folder_of_run(file)
        reading = reading_of_export(file) if run is None else read_stored_config(run / "config.yaml").reading
        return {name: reading[name] for name in ("decode", "max_value", "stored_size") if name in reading}
    except (ValueError, FileNotFoundError):  # reported later; of a run of another version only the weights are needed
        return {}


def folder_of_run(path: Path) -> Path | None:
    """The folder of the run that a checkpoint file belongs to; None if it lies in no run's folder."""
    folder = path.parent.parent
    return folder if (folder / "config.yaml").is_file() else None


def images_of_run(path: Path) -> tuple[Source, Reading, View]:
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


def images_meant(config: EvalConfig) -> Source | None:
    """The images that an evaluation reads; None if they are not known."""
    if config.data is not None or config.ckpt is None:
        return config.data
    try:
        return images_of_run(find_weights(config.ckpt))[0]
    except (ValueError, FileNotFoundError):  # reported later
        return None


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
    if settings.data is not None:
        check_kinds(settings, {"data": OPTIONS["data"]})
        check_root(settings.data, overrides)
    if settings.data is not None and settings.view is not None:
        settings.view.check_channels(settings.data.n_channels)
    if settings.data is not None and settings.reading is not None:
        settings.data.check_reading(settings.reading)
    if settings.init is not None:
        check_kinds(settings, {"init": OPTIONS["init"]})
    check_chosen(settings, overrides)
    return settings
