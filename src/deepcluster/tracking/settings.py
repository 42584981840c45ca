"""The group `logger`: the settings of each option. A tracker's package is imported only when a run begins.

Next: `open` makes the tracker itself: on_wandb.py, on_mlflow.py, on_tensorboard.py.
"""

from __future__ import annotations

import importlib
import netrc
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self
from urllib.parse import urlparse

from deepcluster.system.extras import install_extra
from deepcluster.system.setting import check, setting

PROJECT = "deepcluster"

if TYPE_CHECKING:
    from deepcluster.tracking.tracked_run import TrackedRun
    from deepcluster.tracking.tracker import Tracker


@dataclass(kw_only=True)
class LoggerSettings:
    """logger=csv: metrics.csv, which every run writes, and nothing else.

    Args:
        kind: "csv".
    """

    kind: str = "csv"

    def check(self) -> None:
        """Check, before anything starts, that the tracker can be used.

        Raises:
            ValueError, ImportError: if a key or a package is missing.
        """

    def named(self, name: str, group: str | None) -> Self:
        """These settings with a name for the run and for its group, where the user has set none.

        Args:
            name: the name of the run's folder; in a sweep the job's overrides.
            group: the name of the sweep's folder; None for a single run.
        """
        return self

    def open(self, run: TrackedRun) -> Tracker | None:
        """The tracker, or None with logger=csv. A run that was tracked before is continued there.

        Raises:
            ValueError: if the tracker cannot be reached.
        """
        return None

    def draws_picture(self, n_reassignments: int) -> bool:
        """Whether the n-th reassignment, counted from 1, gets a picture."""
        return False

    def keeps_assignment(self, *, last: bool) -> bool:
        """Whether the tracker keeps the files of an assignment; `last`: it is the run's final one."""
        return False

    def keeps_checkpoint(self) -> bool:
        """Whether the tracker keeps checkpoints/final.ckpt."""
        return False


@dataclass(kw_only=True)
class PictureSettings(LoggerSettings):
    """A tracker that shows pictures.

    Args:
        pictures_every: reassignments from one picture of clusters to the next; 0: no pictures.
        n_clusters: clusters in a picture, spread from the largest to the smallest.
        n_members: random images of each of these clusters.
    """

    pictures_every: int = setting(1, at_least=0, hint="0 for none")
    n_clusters: int = setting(8, at_least=1, at_most=100)
    n_members: int = setting(10, at_least=1, at_most=100)

    def __post_init__(self) -> None:
        check(self, "logger")

    def draws_picture(self, n_reassignments: int) -> bool:
        return self.pictures_every > 0 and (n_reassignments - 1) % self.pictures_every == 0


@dataclass(kw_only=True)
class TensorBoardSettings(PictureSettings):
    """TensorBoard.

    Args:
        kind: "tensorboard".
    """

    kind: str = "tensorboard"

    def check(self) -> None:
        require("tensorboard", "tensorboard")

    def open(self, run: TrackedRun) -> Tracker:
        from deepcluster.tracking.on_tensorboard import TensorBoardTracker

        return TensorBoardTracker(run)


@dataclass(kw_only=True)
class RunsSettings(PictureSettings):
    """A tracker that compares many runs and keeps files.

    Args:
        project: where the tracker lists the run; null: the tracker's own variable in VARIABLES, else "deepcluster".
        name: the run's name; null: that variable, else its folder's name, in a sweep the job's overrides.
        group: a name for runs that belong together; null: that variable, else in a sweep the name of its folder.
        tags: words to find the run by; [] takes that variable, words with commas between.
        assignments: which assignments the tracker keeps as files: "last", "all" (of each reassignment) or "none".
        checkpoint: the tracker keeps checkpoints/final.ckpt too.
    """

    VARIABLES: ClassVar[dict[str, str]] = {}  # key -> the environment variable that the tracker's users know

    project: str | None = None
    name: str | None = None
    group: str | None = None
    tags: list[str] = setting([])
    assignments: str = setting("last", one_of=("last", "all", "none"))
    checkpoint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.project == "":
            raise ValueError("logger.project must have a name")

    def named(self, name: str, group: str | None) -> Self:
        tags = (self._variable("tags") or "").split(",")
        return replace(
            self,
            project=self.project or self._variable("project") or PROJECT,
            name=self.name or self._variable("name") or name,
            group=self.group or self._variable("group") or group,
            tags=self.tags or [tag.strip() for tag in tags if tag.strip()],
        )

    def _variable(self, key: str) -> str | None:
        return os.environ.get(self.VARIABLES.get(key, "")) or None

    def keeps_assignment(self, *, last: bool) -> bool:
        return self.assignments == "all" or (last and self.assignments == "last")

    def keeps_checkpoint(self) -> bool:
        return self.checkpoint


@dataclass(kw_only=True)
class MLflowSettings(RunsSettings):
    """MLflow, which calls `project` an experiment.

    Args:
        kind: "mlflow".
        tracking_uri: a server (http://HOST:5000) or a database (sqlite:///FILE); null: MLFLOW_TRACKING_URI if it is
            set, else mlflow.db beside the run's folder, shared by all runs there and by all jobs of a sweep.
    """

    VARIABLES: ClassVar[dict[str, str]] = {"project": "MLFLOW_EXPERIMENT_NAME", "name": "MLFLOW_RUN_NAME"}

    kind: str = "mlflow"
    tracking_uri: str | None = setting(None, is_path=True)

    def check(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        require("mlflow", "mlflow", "sqlalchemy", "alembic")

    def open(self, run: TrackedRun) -> Tracker:
        from deepcluster.tracking.on_mlflow import open_mlflow

        return open_mlflow(
            run,
            tracking_uri=self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"),
            project=self.project or PROJECT,
            name=self.name,
            group=self.group,
            tags=self.tags,
        )


@dataclass(kw_only=True)
class WandbSettings(RunsSettings):
    """Weights & Biases.

    Args:
        kind: "wandb".
        entity: user or team; null: WANDB_ENTITY, else the default of the API key.
        offline: write into the run's folder, for `wandb sync` later; null: offline, unless WANDB_API_KEY is set or
            WANDB_MODE asks for online.
    """

    VARIABLES: ClassVar[dict[str, str]] = {
        "project": "WANDB_PROJECT",
        "name": "WANDB_NAME",
        "group": "WANDB_RUN_GROUP",
        "tags": "WANDB_TAGS",
    }

    kind: str = "wandb"
    entity: str | None = None
    offline: bool | None = None

    def check(self) -> None:
        require("wandb", "wandb")
        if self.mode() not in ("offline", "dryrun", "disabled") and not _has_wandb_key():
            raise ValueError(
                "logger=wandb should be online (logger.offline=false or WANDB_MODE), but there is no key: put "
                "WANDB_API_KEY=... into .env, or call `wandb login`, or leave it offline"
            )

    def mode(self) -> str:
        """wandb's mode: from `offline`, else from WANDB_MODE, else online with WANDB_API_KEY and offline without."""
        if self.offline is not None:
            return "offline" if self.offline else "online"
        return os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")

    def open(self, run: TrackedRun) -> Tracker:
        from deepcluster.tracking.on_wandb import open_wandb

        return open_wandb(
            run,
            mode=self.mode(),
            project=self.project or PROJECT,
            entity=self.entity,
            name=self.name,
            group=self.group,
            tags=self.tags,
        )


def require(kind: str, *modules: str) -> None:
    """Check that a tracker's modules are installed.

    Raises:
        ImportError: with the extra that installs them.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(f"logger={kind} needs an extra: {install_extra(kind)} ({error})") from error


def _has_wandb_key() -> bool:
    """Whether there is a key in the environment or in the netrc file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
