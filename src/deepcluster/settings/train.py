"""The config: every setting's type and default, what is refused before anything starts, and how parts are built.

train.py composes a config with Hydra; here it becomes settings. run.py takes it from there.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deepcluster.clustering.method import Clustering
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.sampler import Sampler
from deepcluster.data.settings import Data
from deepcluster.evaluation.probe.representation import Evaluation
from deepcluster.features.extraction import Extraction
from deepcluster.settings.options import EVAL_OPTIONS, OPTIONS, check_kinds
from deepcluster.system import distributed
from deepcluster.system.atomic import write_atomically
from deepcluster.system.targets import check_target
from deepcluster.tracking.logger import Logger
from deepcluster.training.checkpoint_settings import Checkpointing
from deepcluster.training.optimizer import Optimizer
from deepcluster.training.processes import TIMEOUT_KEY, check_processes
from deepcluster.training.schedule import Schedule
from deepcluster.weights.start import Init

# Arguments of the Trainer that the run sets itself.
TRAINER_OWNED = (
    "callbacks",
    "logger",
    "plugins",
    "enable_progress_bar",
    "enable_checkpointing",
    "enable_model_summary",
    "use_distributed_sampler",
    "num_sanity_val_steps",
)
# Views and features are float32, so the weights are: Lightning's other "-true" types would not multiply with them.
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
OBJECTIVES = ("knn_accuracy", "linear_probe_accuracy", "nmi_labels", "nmi_previous")


@dataclass(kw_only=True)
class TrainConfig:
    """configs/train.yaml, typed. Groups of ours are dataclasses beside their owners; others name a `_target_`.

    Args:
        objective: the number of the trained network that a search (hydra/sweeper=optuna) goes by; of these only
            nmi_previous, NMI with the last assignment, needs no labels.
    """

    data: Data = field(default_factory=Data)
    arch: dict[str, Any] = field(default_factory=dict)
    init: Init = MISSING
    extraction: Extraction = field(default_factory=Extraction)
    reduction: Reduction = field(default_factory=Reduction)
    clustering: Clustering = MISSING
    reassign: Schedule = field(default_factory=Schedule)
    sampler: Sampler = field(default_factory=Sampler)
    optimizer: Optimizer = field(default_factory=Optimizer)
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoint: Checkpointing = field(default_factory=Checkpointing)
    trainer: dict[str, Any] = field(default_factory=dict)
    logger: Logger = field(default_factory=Logger)
    seed: int = 1
    estimate: bool = False
    objective: str = "knn_accuracy"
    output_dir: str | None = None
    resume: str | None = None


def register() -> None:
    """Make the schema and the resolvers known to Hydra; before ``hydra.main``."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    for group, kinds in [*OPTIONS.items(), *EVAL_OPTIONS.items()]:
        for kind, schema in kinds.items():
            store.store(name=f"{group}_{kind}", node=schema)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("file_name", file_name, replace=True)


def run_folder(resume: str | None, output_dir: str | None, default: str) -> str:
    """The folder of this run: the one to resume, the one asked for, or a new one.

    Raises:
        ValueError: if there is nothing to resume, or output_dir is a file or holds a run.
    """
    if resume is not None:
        if (Path(resume) / "multirun.yaml").is_file():
            raise ValueError(
                f"resume={resume} is a sweep's folder; the sweep's own command with output_dir={resume} goes on with it"
            )
        if not (Path(resume) / "config.yaml").is_file():
            raise ValueError(
                f"resume={resume}: no run there (no config.yaml); give the folder of a run, as train.py printed it"
            )
        return resume
    if output_dir is not None and Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise ValueError(f"output_dir={output_dir} is a file; give a new folder's name")
    # Of several processes only the first asks: it may have begun the run when the others come here.
    if output_dir and (Path(output_dir) / "config.yaml").is_file() and distributed.is_main_process():
        raise ValueError(
            f"output_dir={output_dir} already holds a run; continue it with resume={output_dir}, "
            "or choose another folder"
        )
    return output_dir or distributed.agreed(default)


def file_name(text: str) -> str:
    """A sweep job's overrides as the name of one folder: no slashes, and short enough for every file system."""
    return text.replace("/", "-").encode()[:200].decode(errors="ignore")


def settings(cfg: DictConfig) -> TrainConfig:
    """Turn a composed config into settings, refusing bad values.

    Raises:
        ValueError: if a value, a target or a relation between groups is not possible.
    """
    config = typed(cfg)
    assert isinstance(config, TrainConfig)
    check_kinds(config, OPTIONS)
    check_target(config.arch, "arch", supplied=("in_channels", "image_size"))
    of_lightning = {name: value for name, value in config.trainer.items() if name != TIMEOUT_KEY}
    check_target(of_lightning, "trainer", supplied=TRAINER_OWNED)
    check_processes(config.trainer)
    config.logger.check()
    for key in ("max_epochs", "devices", "precision"):
        if key not in config.trainer:
            raise ValueError(f"trainer.{key} is missing; every file in configs/trainer must give it")
    if not isinstance(config.trainer["max_epochs"], int) or config.trainer["max_epochs"] < 0:
        raise ValueError(
            f"trainer.max_epochs must be at least 1, or 0 to measure the network as it starts, "
            f"got {config.trainer['max_epochs']}"
        )
    if config.trainer["precision"] not in PRECISIONS:
        raise ValueError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {config.trainer['precision']}")
    if config.objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {config.objective}")
    if config.seed < 0:
        raise ValueError(f"seed must be at least 0, got {config.seed}")
    return config


def typed(cfg: DictConfig) -> Any:
    """The schema's dataclass with the config's values.

    Raises:
        ValueError: if a value is missing, of a wrong type, or refused by its dataclass.
    """
    _check_keys(cfg, "")
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ValueError(f"{missing[0]} has no value; add {missing[0]}=VALUE")
    try:
        return OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:  # wraps what __post_init__ says
        raise ValueError(str(error.__cause__ or error).splitlines()[0]) from error


def _check_keys(node: DictConfig, prefix: str) -> None:
    """Refuse keys that the schema does not have: Hydra lets a plus add any."""
    schema = OmegaConf.get_type(node)
    if not is_dataclass(schema):
        return
    known = [f.name for f in fields(schema)]
    for name in map(str, node):
        key = f"{prefix}{name}"
        if name not in known:
            why = getattr(schema, "ABSENT", {}).get(name, f"there are {', '.join(known)}")
            raise ValueError(f"there is no key {key}, and none can be added; {why}")
        value = None if OmegaConf.is_missing(node, name) else node[name]
        if isinstance(value, DictConfig):
            _check_keys(value, f"{key}.")


def check_sizes(config: TrainConfig, *, n_images: int, feature_dim: int) -> None:
    """Relations between groups that need the data's size and the network; before the first pass over images.

    Raises:
        ValueError: if K or P is more than the data or the network can give.
    """
    config.clustering.check(n_images)
    config.reduction.check(n_images, feature_dim)
    n_drawn = config.reassign.images_per_epoch(n_images)
    if n_drawn < 2:
        raise ValueError(f"reassign.epochs={config.reassign.epochs} draws {n_drawn} of {n_images} images; raise it")
    if config.data.batch_size < 2:
        raise ValueError(f"data.batch_size must be at least 2 for BatchNorm, got {config.data.batch_size}")


def load(file: Path) -> DictConfig:
    """A run's stored config, typed.

    Raises:
        ValueError: if the file is none of this version's.
    """
    try:
        plain = OmegaConf.load(file)
        schema = OmegaConf.structured(TrainConfig)
        for group, kinds in OPTIONS.items():
            kind = OmegaConf.select(plain, f"{group}.kind") or next(iter(kinds))
            if kind not in kinds:
                raise ValueError(f"{file}: {group}.kind={kind} is none of {', '.join(kinds)}")
            schema[group] = OmegaConf.structured(kinds[kind])
        merged = OmegaConf.merge(schema, plain)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{file} is not the config of a run of this version: {str(error).splitlines()[0]}") from error
    assert isinstance(merged, DictConfig)
    return merged


def save(config: TrainConfig, folder: Path) -> None:
    """Write the resolved config into the run's folder; its presence marks the folder as a run's."""
    plain = OmegaConf.structured(config)
    plain.resume, plain.estimate = None, False
    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(plain).encode())
