"""The group `logger`: settings that its options share. Each option's own stand with its adapter."""

import importlib
from dataclasses import dataclass, field, replace
from typing import Self

from deepcluster.tracking.recorder import Place, Recorder

ASSIGNMENTS = ("last", "all", "none")


@dataclass(kw_only=True)
class Logger:
    """metrics.csv, which is always written, and nothing else.

    Args:
        kind: "csv".
    """

    kind: str = "csv"

    def check(self) -> None:
        """What can be known before anything starts.

        Raises:
            ValueError, ImportError: if the logger cannot be used.
        """

    def named(self, name: str, group: str | None) -> Self:
        """These settings with a name for the run, and for the group it belongs to, where they leave them open.

        Args:
            name: its folder's, in a sweep the job's overrides.
            group: the name of the sweep's folder; None for a single run.
        """
        return self

    def open(self, place: Place) -> Recorder | None:
        """Begin, or go on where the run's folder was logged before; None where nobody else is told.

        Raises:
            ValueError: if the logger cannot be reached.
        """
        return None

    def draws(self, n_reassignments: int) -> bool:
        """Whether this reassignment, the n-th from 1, gets a picture."""
        return False

    def keeps(self, *, last: bool) -> bool:
        """Whether this assignment's files are kept."""
        return False

    def keeps_checkpoint(self) -> bool:
        """Whether checkpoints/final.ckpt is kept."""
        return False


@dataclass(kw_only=True)
class Pictured(Logger):
    """A logger that shows pictures.

    Args:
        pictures_every: reassignments from one picture of clusters to the next; 0: no pictures.
        n_clusters: clusters on it, from the largest to the smallest.
        n_members: random members of each.
    """

    pictures_every: int = 1
    n_clusters: int = 8
    n_members: int = 10

    def __post_init__(self) -> None:
        if self.pictures_every < 0:
            raise ValueError(f"logger.pictures_every must be at least 1, or 0 for none, got {self.pictures_every}")
        for name in ("n_clusters", "n_members"):
            if not 1 <= getattr(self, name) <= 100:
                raise ValueError(f"logger.{name} must be 1 to 100, got {getattr(self, name)}")

    def draws(self, n_reassignments: int) -> bool:
        return self.pictures_every > 0 and (n_reassignments - 1) % self.pictures_every == 0


@dataclass(kw_only=True)
class Tracked(Pictured):
    """A logger that compares many runs and keeps files.

    Args:
        project: under which its runs are found.
        name: of the run; null: its folder's, in a sweep the job's overrides.
        group: of runs that belong together; null: in a sweep its folder's name.
        tags: words to find it by.
        assignments: whose files are kept: "last", "all" (each reassignment's) or "none".
        checkpoint: keep checkpoints/final.ckpt too.
    """

    project: str = "deepcluster"
    name: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    assignments: str = "last"
    checkpoint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.project:
            raise ValueError("logger.project must have a name")
        if self.assignments not in ASSIGNMENTS:
            raise ValueError(f"logger.assignments must be one of {', '.join(ASSIGNMENTS)}, got {self.assignments!r}")

    def named(self, name: str, group: str | None) -> Self:
        return replace(self, name=self.name or name, group=self.group or group)

    def keeps(self, *, last: bool) -> bool:
        return self.assignments == "all" or (last and self.assignments == "last")

    def keeps_checkpoint(self) -> bool:
        return self.checkpoint


def require(kind: str, *modules: str) -> None:
    """Say which extra a logger needs.

    Raises:
        ImportError: if one of the modules is not installed.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(f"logger={kind} needs an extra: pip install -e '.[{kind}]' ({error})") from error
