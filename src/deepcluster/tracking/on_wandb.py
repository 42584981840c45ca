"""Weights & Biases: online with a key, else offline. A resumed run and its evaluations continue the same W&B run.

wandb is imported inside functions: after the import, the end of any forked process removes wandb's folder of pictures.
"""

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from deepcluster.tracking.tracked_run import TrackedRun, read_logged, update_logged
from deepcluster.tracking.tracker import Row, Table, Tracker, size_histogram
from deepcluster.tracking.wandb_file import ROW_STEP, last_steps

FINISH_TIMEOUT_S = 600  # a finished run must not wait longer for an unreachable server; `wandb sync` sends the rest
OFFLINE = ("offline", "dryrun")  # modes that write into the run's folder only
EXIT_CODES = {"finished": 0, "failed": 1, "stopped": 130}  # 130: as shells have it for Ctrl-C


class WandbTracker(Tracker, WandbLogger):
    """One run of Weights & Biases.

    Args:
        run: the run that is logged.
        opened: wandb's run.
        is_own: whether `close` sets its exit code; False for an evaluation that adds to the run of a training.
        last_step: the step of the last row on the server or, offline, on disk; None if it is unknown.
    """

    kind = "wandb"

    def __init__(self, run: TrackedRun, opened: Any, *, is_own: bool, last_step: int | None) -> None:
        super().__init__(run, last_step=last_step, experiment=opened, project=opened.project, id=opened.id)
        self.is_own = is_own

    def log_row(self, row: Row) -> None:
        import wandb

        content: dict[str, Any] = {"epoch": row.epoch, ROW_STEP: row.step, **row.numbers}
        if row.sizes is not None:
            content["cluster/sizes"] = wandb.Histogram(np_histogram=size_histogram(row.sizes))
        if row.picture is not None:
            content["clusters"] = wandb.Image(row.picture, caption=f"epoch {row.epoch}")
        content |= {f"table/{name}": _table(table) for name, table in row.tables.items()}
        # W&B drops a row whose step is not above the last one's, and rows of callbacks take steps too.
        step = max(row.step, self.experiment.step)
        self.experiment.log(content, step=step, commit=True)  # else W&B writes the row when the next one begins

    def log_files(self, kind: str, name: str, paths: list[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"{kind}-{self.experiment.id}", type=kind, metadata={"moment": name})
        for path in paths:
            # Not "mutable", which copies the file: a run never changes the content of these files.
            artifact.add_file(str(path.resolve()), name=path.name, policy="immutable")
        self.experiment.log_artifact(artifact, aliases=["latest", name])

    def log_summary(self, numbers: Mapping[str, float], epoch: int) -> None:
        self.experiment.summary.update(numbers)

    def close(self, status: str) -> None:
        import wandb

        try:
            self.experiment.finish(exit_code=EXIT_CODES[status] if self.is_own else 0)
        except Exception:  # wandb's process has died; the next job of a sweep needs a new one
            with suppress(Exception):
                wandb.teardown()
            raise


def open_wandb(
    run: TrackedRun,
    *,
    mode: str,
    project: str,
    entity: str | None,
    name: str | None,
    group: str | None,
    tags: list[str],
) -> WandbTracker:
    """Begin a W&B run, or continue that of the same folder or, for an evaluation, of the evaluated run.

    Args:
        run: the run that is logged.
        mode: wandb's mode: "online", "offline", "disabled" ...
        project, entity, name, group, tags: of a new run, see WandbSettings.

    Raises:
        ValueError: if W&B cannot be reached.
    """
    import wandb

    trained = {} if run.of_run is None else read_logged(run.of_run, "wandb")
    offline = mode in OFFLINE
    stored = trained or read_logged(run.folder, "wandb") or {"id": _new_id()}
    project, entity = stored.get("project", project), stored.get("entity", entity)
    files = Path(os.environ.get("WANDB_DIR") or run.folder)  # W&B makes a folder wandb in it
    if not trained:  # before the run begins, so that one that is killed early has the same id when it is resumed
        update_logged(run.folder, "wandb", id=stored["id"], project=project, entity=entity)
    described: dict[str, Any] = {}  # an evaluation leaves the description of a training's run as it is
    if not trained:
        job_type = os.environ.get("WANDB_JOB_TYPE") or run.job
        described = {"config": run.config, "job_type": job_type, "name": name, "group": group, "tags": list(tags)}
        described["notes"] = os.environ.get("WANDB_NOTES")
    files.mkdir(parents=True, exist_ok=True)
    last_row, last_step = last_steps(files, stored["id"])  # before this process adds rows
    try:
        opened = wandb.init(
            project=project,
            entity=entity,
            id=stored["id"],
            resume="allow",  # offline too: `wandb sync` then joins the parts
            dir=str(files),
            mode=mode,  # type: ignore[arg-type]  # wandb checks it
            allow_val_change=True,  # a resumed run may train on
            settings=wandb.Settings(console="off", silent=offline, finish_timeout=FINISH_TIMEOUT_S),
            **described,
        )
    except wandb.Error as error:
        raise ValueError(
            f"logger=wandb could not begin: {str(error).splitlines()[0]}; logger.offline=true writes into "
            f"{files}/wandb, for `wandb sync` later"
        ) from error
    opened.define_metric("epoch")
    opened.define_metric("*", step_metric="epoch")
    if trained:
        run.say(f"wandb      continues run {stored['id']} of {run.of_run}")
    if mode == "disabled":
        run.say("wandb      disabled by WANDB_MODE: nothing is kept")
    elif offline:
        if last_step >= 0:  # an offline run does not know the steps of its earlier parts
            opened.log({}, step=last_step + 1, commit=False)
        why = "" if os.environ.get("WANDB_API_KEY") else " (no WANDB_API_KEY)"
        run.say(f"wandb      offline{why}; later: wandb sync {files}/wandb/offline-run-*")
    else:
        last_row = opened.summary.get(ROW_STEP, opened.step - 1)
        run.say(f"wandb      online: {opened.url or f'project {project}'}")
    return WandbTracker(run, opened, is_own=not trained, last_step=last_row)


def _new_id() -> str:
    """WANDB_RUN_ID or a new one. The variable names one run: the next job of a sweep gets an id of its own."""
    return os.environ.pop("WANDB_RUN_ID", None) or uuid.uuid4().hex[:12]


def _table(table: Table) -> Any:
    import wandb

    return wandb.Table(columns=table.columns, data=table.rows)
