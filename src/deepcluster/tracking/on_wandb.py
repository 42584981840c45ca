"""Weights & Biases: online with a key, offline without; a resumed run and its evaluations continue the same run."""

import netrc
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from deepcluster.tracking.logger import Tracked, require
from deepcluster.tracking.recorder import Place, Recorder, Row, Table, remember, remembered, size_histogram
from deepcluster.tracking.wandb_file import last_step

FINISH_TIMEOUT_S = 600  # an unreachable server must not hold a finished run, or a sweep; `wandb sync` sends the rest
EXIT_CODES = {"finished": 0, "failed": 1, "stopped": 130}  # 130: as shells have it for Ctrl-C


@dataclass(kw_only=True)
class Wandb(Tracked):
    """Weights & Biases.

    Args:
        kind: "wandb".
        entity: user or team; null: the key's own.
        offline: write into the run's folder, for `wandb sync` later; null: unless WANDB_API_KEY or WANDB_MODE says
            that it is online.
    """

    kind: str = "wandb"
    entity: str | None = None
    offline: bool | None = None

    def check(self) -> None:
        require("wandb", "wandb")
        if not _is_offline(self) and os.environ.get("WANDB_MODE") != "disabled" and not _has_key():
            raise ValueError(
                "logger=wandb is to be online (logger.offline=false or WANDB_MODE), but there is no key: put "
                "WANDB_API_KEY=... into .env, or call `wandb login`, or leave it offline"
            )

    def open(self, place: Place) -> Recorder | None:
        import wandb

        of_run = {} if place.of_run is None else remembered(place.of_run, "wandb")
        offline = _is_offline(self)
        stored = of_run or remembered(place.folder, "wandb") or {"id": uuid.uuid4().hex[:12]}
        project, entity = stored.get("project", self.project), stored.get("entity", self.entity)
        if not of_run:  # before it begins: a kill in between must not make two runs of one
            remember(place.folder, "wandb", id=stored["id"], project=project, entity=entity)
        mode: Any = "offline" if offline else "online"
        if self.offline is None and "WANDB_MODE" in os.environ:
            mode = os.environ["WANDB_MODE"]
        names: dict[str, Any] = {} if of_run else {"config": place.config, "job_type": place.job}
        if not of_run:
            names |= {"name": self.name, "group": self.group, "tags": list(self.tags)}
        place.folder.mkdir(parents=True, exist_ok=True)
        known = last_step(place.folder, stored["id"])  # before this process adds its own
        try:
            run = wandb.init(
                project=project,
                entity=entity,
                id=stored["id"],
                resume="allow",  # offline too: `wandb sync` then joins the segments
                dir=str(place.folder),
                mode=mode,
                allow_val_change=True,  # a resumed run may train on
                settings=wandb.Settings(console="off", silent=offline, finish_timeout=FINISH_TIMEOUT_S),
                **names,
            )
        except wandb.Error as error:
            raise ValueError(
                f"logger=wandb could not begin: {str(error).splitlines()[0]}; logger.offline=true writes into "
                f"{place.folder}/wandb, for `wandb sync` later"
            ) from error
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        if of_run:
            place.say(f"wandb      continues run {stored['id']} of {place.of_run}")
        if offline:
            why = "logger.offline" if self.offline else "no WANDB_API_KEY"
            place.say(f"wandb      offline ({why}); later: wandb sync {place.folder}/wandb/offline-run-*")
        else:
            place.say(f"wandb      online: {run.url or f'project {project}'}")
        return WandbRecorder(run, is_own=not of_run, last_step=known if offline else run.step - 1)


class WandbRecorder:
    """One run of Weights & Biases.

    Args:
        run: wandb's.
        is_own: not that of a training run which an evaluation adds to, and whose state stays as it is.
        last_step: on the server or, offline, on disk; None if that is unknown.
    """

    def __init__(self, run: Any, *, is_own: bool, last_step: int | None) -> None:
        self.run = run
        self.is_own = is_own
        self.last_step = last_step

    def row(self, row: Row) -> None:
        import wandb

        content: dict[str, Any] = {"epoch": row.epoch, **row.numbers}
        if row.sizes is not None:
            content["cluster/sizes"] = wandb.Histogram(np_histogram=size_histogram(row.sizes))
        if row.picture is not None:
            content["clusters"] = wandb.Image(row.picture, caption=f"epoch {row.epoch}")
        content |= {f"table/{name}": _table(table) for name, table in row.tables.items()}
        self.run.log(content, step=row.step, commit=True)  # at once: an open row would wait for the next epoch's

    def files(self, kind: str, name: str, paths: list[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"{kind}-{self.run.id}", type=kind, metadata={"moment": name})
        for path in paths:
            # Not "mutable", which copies: the run writes these files once, or anew with the same content.
            artifact.add_file(str(path.resolve()), name=path.name, policy="immutable")
        self.run.log_artifact(artifact, aliases=["latest", name])

    def summary(self, numbers: dict[str, float], epoch: int) -> None:
        self.run.summary.update(numbers)

    def close(self, status: str) -> None:
        import wandb

        try:
            self.run.finish(exit_code=EXIT_CODES[status] if self.is_own else 0)
        except Exception:  # its process has died: the next job of a sweep needs a new one
            with suppress(Exception):
                wandb.teardown()
            raise


def _table(table: Table) -> Any:
    import wandb

    return wandb.Table(columns=table.columns, data=table.rows)


def _is_offline(settings: Wandb) -> bool:
    if settings.offline is not None:
        return settings.offline
    mode = os.environ.get("WANDB_MODE")
    if mode in ("online", "run", "shared", "disabled"):
        return False
    return mode in ("offline", "dryrun") or not os.environ.get("WANDB_API_KEY")


def _has_key() -> bool:
    """In the environment, or in the file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
