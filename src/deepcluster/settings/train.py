"""configs/train.yaml, typed: all groups of settings, and the checks before anything starts.

Hydra composes a config; `train_config` makes settings of it. Next: run/train.py.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from deepcluster.clustering.method import Clustering
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.reading_settings import Reading
from deepcluster.data.sampler import Sampler
from deepcluster.data.settings import Source
from deepcluster.data.view_settings import View
from deepcluster.evaluation.probe.representation import Evaluation
from deepcluster.evaluation.samples.settings import Files
from deepcluster.features.other_rows import OtherRows
from deepcluster.features.rows import Rows
from deepcluster.features.settings import Extraction
from deepcluster.settings.callbacks import check_callbacks
from deepcluster.settings.combinations import check_method
from deepcluster.settings.composed import as_dataclass, check_kinds
from deepcluster.settings.options import EVAL_OPTIONS, OPTIONS
from deepcluster.settings.run_folder import file_name, run_folder
from deepcluster.system.setting import MAY_CHANGE, check, setting
from deepcluster.system.targets import check_target
from deepcluster.tracking.settings import LoggerSettings
from deepcluster.training.checkpoint_settings import Checkpointing
from deepcluster.training.embedding import Embedding
from deepcluster.training.head_settings import HeadSettings
from deepcluster.training.monitor_settings import Monitor
from deepcluster.training.optimizer import OptimizerSettings
from deepcluster.training.processes import TIMEOUT_KEY, check_processes
from deepcluster.training.schedule import Schedule
from deepcluster.training.target_settings import TargetSettings
from deepcluster.weights.start import Init

# Arguments of Lightning's Trainer that the run sets itself.
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
# Views and features are float32, so the weights must be too: other "-true" types cannot be multiplied with them.
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
OBJECTIVES = ("knn_accuracy", "linear_probe_accuracy", "nmi_labels", "nmi_previous")


@dataclass(kw_only=True)
class TrainConfig:
    """configs/train.yaml, typed. Each group is a dataclass beside the code that uses it, or a dict with a `_target_`.

    Args:
        seed: of all random numbers.
        estimate: only print what the run will need (memory, disk, seconds).
        objective: the number of the trained network that a search (hydra/sweeper=optuna) maximises; only
            nmi_previous, NMI with the last assignment, needs no labels.
        keep: the network that the run ends with: "trained", or the "better" of it and its start, by most of k-NN,
            probe and NMI, without labels by two crops (run/gain.py); the trained one where the start is not measured.
        page: write RUN/page/, a page to look at the clusters, at the end; None: if the images are files in a folder,
            not too many (run/page.py), and the run is no job of a sweep.
        output_dir: the run's folder; None: a new one under runs/.
        resume: the folder of a run to continue.
        follows: the folder of a finished run that this one goes on from, in a folder of its own, with more or fewer
            images (run/follow.py).
        new_groups: with follows=RUN: K grows by a cluster for each group of new images that lie among each other, not
            among the old ones (run/new_groups.py).
    """

    data: Source = MISSING
    reading: Reading = field(default_factory=Reading)
    view: View = field(default_factory=View)
    arch: dict[str, Any] = field(default_factory=dict)
    init: Init = MISSING
    extraction: Extraction = field(default_factory=Extraction)
    reduction: Reduction = field(default_factory=Reduction)
    clustering: Clustering = MISSING
    reassign: Schedule = field(default_factory=Schedule)
    embedding: Embedding = field(default_factory=Embedding)
    rows: Rows = field(default_factory=Rows)
    other_rows: OtherRows = field(default_factory=OtherRows)
    head: HeadSettings = MISSING
    targets: TargetSettings = MISSING
    sampler: Sampler = field(default_factory=Sampler)
    optimizer: OptimizerSettings = MISSING
    evaluation: Evaluation = field(default_factory=Evaluation)
    files: Files = field(default_factory=Files, metadata={MAY_CHANGE: True})
    checkpoint: Checkpointing = field(default_factory=Checkpointing, metadata={MAY_CHANGE: True})
    monitor: Monitor = field(default_factory=Monitor, metadata={MAY_CHANGE: True})
    trainer: dict[str, Any] = field(default_factory=dict, metadata={MAY_CHANGE: True})
    logger: LoggerSettings = field(default_factory=LoggerSettings, metadata={MAY_CHANGE: True})
    callbacks: dict[str, Any] = field(default_factory=dict, metadata={MAY_CHANGE: True})
    seed: int = setting(1, at_least=0)
    estimate: bool = setting(False, may_change=True)
    objective: str = setting("knn_accuracy", one_of=OBJECTIVES)
    keep: str = setting("trained", one_of=("trained", "better"))
    page: bool | None = setting(None, may_change=True)
    output_dir: str | None = setting(None, is_path=True)
    resume: str | None = setting(None, is_path=True)
    follows: str | None = setting(None, is_path=True)
    new_groups: bool = True

    def __post_init__(self) -> None:
        check(self, "")


def register_schemas() -> None:
    """Make the schemas and the resolvers of config files known to Hydra."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    for group, kinds in [*OPTIONS.items(), *EVAL_OPTIONS.items()]:
        # data takes any key, as that of the run's source is typed with resume=RUN and with eval.py ckpt=RUN alone;
        # composed.py refuses those that the source does not have.
        flags = {"struct": False} if group == "data" else None
        for kind, schema in kinds.items():
            store.store(name=f"{group}_{kind}", node=OmegaConf.structured(schema, flags=flags))
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("file_name", file_name, replace=True)
    OmegaConf.register_new_resolver("share", lambda part, whole: part * max(1, whole), replace=True)
    OmegaConf.register_new_resolver("side", lambda part, size: max(4, round(part * size)), replace=True)


def train_config(cfg: DictConfig) -> TrainConfig:
    """The settings of a composed config, all checked.

    Raises:
        ValueError: if a value, a target or a combination of groups is not possible.
    """
    config = as_dataclass(cfg)
    assert isinstance(config, TrainConfig)
    check_kinds(config, OPTIONS)
    for key in ("max_epochs", "devices", "precision"):
        if key not in config.trainer:
            raise ValueError(f"trainer.{key} is missing; every file in configs/trainer must give it")
    if not isinstance(config.trainer["max_epochs"], int) or config.trainer["max_epochs"] < 0:
        raise ValueError(
            f"trainer.max_epochs must be an integer of at least 1, or 0 to measure the network as it starts, "
            f"got {config.trainer['max_epochs']}"
        )
    if config.trainer["precision"] not in PRECISIONS:
        raise ValueError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {config.trainer['precision']}")
    check_processes(config.trainer)
    config.optimizer.check_epochs(config.trainer["max_epochs"])
    config.view.check_channels(config.data.n_channels)
    config.data.check_reading(config.reading)
    config.view.check_batch(config.reading.batch_size, config.data.n_channels)
    check_method(
        embedding=config.embedding,
        rows=config.rows,
        other_rows=config.other_rows,
        reduction=config.reduction,
        clustering=config.clustering,
        head=config.head,
        targets=config.targets,
        sampler=config.sampler,
        view=config.view,
        optimizer=config.optimizer,
    )
    # Last, as checking a target loads torch and Lightning: other mistakes are reported at once.
    check_target(config.arch, "arch", supplied=("in_channels", "image_size"))
    of_lightning = {name: value for name, value in config.trainer.items() if name != TIMEOUT_KEY}
    check_target(of_lightning, "trainer", supplied=TRAINER_OWNED)
    check_callbacks(config.callbacks)
    config.logger.check()
    return config


def check_sizes(
    clustering: Clustering, reduction: Reduction, reassign: Schedule, *, n_images: int, feature_dim: int
) -> None:
    """Check settings against the data's size and the network, before the first pass over images.

    Args:
        n_images: N.
        feature_dim: D.

    Raises:
        ValueError: if K, P or the length of an epoch does not fit N and D.
    """
    clustering.check(n_images)
    reduction.check(n_images, feature_dim)
    n_drawn = reassign.images_per_epoch(n_images)
    if n_drawn < 2:
        raise ValueError(f"reassign.epochs={reassign.epochs} draws {n_drawn} of {n_images} images; raise it")
