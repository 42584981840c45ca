"""The group `logger`: what each of its options can be told. Light: a tracker's package is imported when a run begins.

`open` gives the tracker itself: on_wandb.py, on_mlflow.py, on_tensorboard.py.
"""

from __future__ import annotations

import importlib
import netrc
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self
from urllib.parse import urlparse

from deepcluster.system.setting import check, setting

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
        """Refuse, before anything starts, what cannot work.

        Raises:
            ValueError, ImportError: if the tracker cannot be used.
        """

    def named(self, name: str, group: str | None) -> Self:
        """These settings with a name for the run, and for the group it belongs to, where they leave them open.

        Args:
            name: its folder's name; in a sweep the job's overrides.
            group: the name of the sweep's folder; None for a single run.
        """
        return self

    def open(self, run: TrackedRun) -> Tracker | None:
        """The tracker: of a new run, or of the one that the folder's run was tracked as before; None with logger=csv.

        Raises:
            ValueError: if the tracker cannot be reached.
        """
        return None

    def draws(self, n_reassignments: int) -> bool:
        """Whether the n-th reassignment, counted from 1, gets a picture."""
        return False

    def keeps(self, *, last: bool) -> bool:
        """Whether an assignment's files are kept; `last`: whether it is the run's final one."""
        return False

    def keeps_checkpoint(self) -> bool:
        """Whether checkpoints/final.ckpt is kept."""
        return False


@dataclass(kw_only=True)
class PictureSettings(LoggerSettings):
    """A tracker that shows pictures.

    Args:
        pictures_every: reassignments from one picture of clusters to the next; 0: no pictures.
        n_clusters: clusters on a picture, from the largest to the smallest.
        n_members: random images of each cluster.
    """

    pictures_every: int = setting(1, at_least=0, hint="0 for none")
    n_clusters: int = setting(8, at_least=1, at_most=100)
    n_members: int = setting(10, at_least=1, at_most=100)

    def __post_init__(self) -> None:
        check(self, "logger")

    def draws(self, n_reassignments: int) -> bool:
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
        project: under which its runs are found.
        name: of the run; null: its folder's name, in a sweep the job's overrides.
        group: of runs that belong together; null: in a sweep the name of its folder.
        tags: words to find it by.
        assignments: whose files are kept: "last", "all" (each reassignment's) or "none".
        checkpoint: keep checkpoints/final.ckpt too.
    """

    project: str = "deepcluster"
    name: str | None = None
    group: str | None = None
    tags: list[str] = setting([])
    assignments: str = setting("last", one_of=("last", "all", "none"))
    checkpoint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.project:
            raise ValueError("logger.project must have a name")

    def named(self, name: str, group: str | None) -> Self:
        return replace(self, name=self.name or name, group=self.group or group)

    def keeps(self, *, last: bool) -> bool:
        return self.assignments == "all" or (last and self.assignments == "last")

    def keeps_checkpoint(self) -> bool:
        return self.checkpoint


@dataclass(kw_only=True)
class MLflowSettings(RunsSettings):
    """MLflow, which calls `project` an experiment.

    Args:
        kind: "mlflow".
        tracking_uri: of a server (http://HOST:5000) or a database (sqlite:///FILE); null: MLFLOW_TRACKING_URI, and
            without it mlflow.db beside the run's folder, which all runs there share, the jobs of a sweep too.
    """

    kind: str = "mlflow"
    tracking_uri: str | None = None

    def check(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        require("mlflow", "mlflow", "sqlalchemy", "alembic")

    def open(self, run: TrackedRun) -> Tracker:
        from deepcluster.tracking.on_mlflow import open_mlflow

        return open_mlflow(
            run,
            tracking_uri=self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"),
            project=self.project,
            name=self.name,
            group=self.group,
            tags=self.tags,
        )


@dataclass(kw_only=True)
class WandbSettings(RunsSettings):
    """Weights & Biases.

    Args:
        kind: "wandb".
        entity: user or team; null: the key's own.
        offline: write into the run's folder, for `wandb sync` later; null: offline, unless WANDB_API_KEY or
            WANDB_MODE asks for online.
    """

    kind: str = "wandb"
    entity: str | None = None
    offline: bool | None = None

    def check(self) -> None:
        require("wandb", "wandb")
        if self.mode() not in ("offline", "dryrun", "disabled") and not _has_wandb_key():
            raise ValueError(
                "logger=wandb is to be online (logger.offline=false or WANDB_MODE), but there is no key: put "
                "WANDB_API_KEY=... into .env, or call `wandb login`, or leave it offline"
            )

    def mode(self) -> str:
        """wandb's mode: as `offline` says, else as WANDB_MODE says, else online with a key and offline without."""
        if self.offline is not None:
            return "offline" if self.offline else "online"
        return os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")

    def open(self, run: TrackedRun) -> Tracker:
        from deepcluster.tracking.on_wandb import open_wandb

        return open_wandb(
            run,
            mode=self.mode(),
            project=self.project,
            entity=self.entity,
            name=self.name,
            group=self.group,
            tags=self.tags,
        )


def require(kind: str, *modules: str) -> None:
    """Say which extra a tracker needs.

    Raises:
        ImportError: if one of the modules is not installed.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(f"logger={kind} needs an extra: pip install -e '.[{kind}]' ({error})") from error


def _has_wandb_key() -> bool:
    """Whether there is a key in the environment, or in the file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
