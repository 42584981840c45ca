"""MLflow: a tracking server, or a SQLite file beside the run's folder. A resumed run continues the same MLflow run."""

from __future__ import annotations

import csv
import io
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import MLFlowLogger

from deepcluster.system.nested import flat
from deepcluster.tracking.tracked_run import TrackedRun, read_logged, update_logged
from deepcluster.tracking.tracker import Row, Table, Tracker, size_histogram

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
LONGEST_PARAM = 6000  # characters, MLflow's limit
# Give up a server that does not answer after half a minute, not several. Values that the user has set stay.
TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MLflowTracker(Tracker, MLFlowLogger):
    """One run of MLflow.

    Args:
        run: the run that is logged.
        uri, experiment_id, run_id: where MLflow stores it.
        is_own: whether `close` ends the MLflow run; False for an evaluation that adds to the run of a training.
    """

    kind = "mlflow"

    def __init__(self, run: TrackedRun, *, uri: str, experiment_id: str, run_id: str, is_own: bool) -> None:
        super().__init__(run, tracking_uri=uri, run_id=run_id)
        self._experiment_id, self._initialized = experiment_id, True  # the run exists, so Lightning must not make one
        self.is_own = is_own

    def log_row(self, row: Row) -> None:
        numbers = dict(row.numbers)
        if row.sizes is not None:  # MLflow has no histograms: it gets three curves, and the histogram as a file
            counts, edges = size_histogram(row.sizes)
            content = {"clusters": counts, "edges": edges}
            self.experiment.log_dict(self.run_id, content, f"cluster_sizes/epoch_{row.epoch:05d}.json")
            numbers["cluster/size_smallest"] = float(row.sizes.min())
            numbers["cluster/size_median"] = float(row.sizes.double().median())
            numbers["cluster/size_largest"] = float(row.sizes.max())
        if row.picture is not None:
            self.experiment.log_image(self.run_id, row.picture, key="clusters", step=row.epoch)
        for name, table in row.tables.items():
            self.experiment.log_text(self.run_id, _as_csv(table), f"tables/{name}.csv")
        MLFlowLogger.log_metrics(self, numbers, row.epoch)

    def log_files(self, kind: str, name: str, paths: list[Path]) -> None:
        for path in paths:
            self.experiment.log_artifact(self.run_id, str(path), artifact_path=f"{kind}/{name}")

    def log_summary(self, numbers: dict[str, float], epoch: int) -> None:
        MLFlowLogger.log_metrics(self, numbers, epoch)

    def close(self, status: str) -> None:
        if self.is_own:
            self.experiment.set_terminated(self.run_id, STATES[status])


def open_mlflow(
    run: TrackedRun, *, tracking_uri: str | None, project: str, name: str | None, group: str | None, tags: list[str]
) -> MLflowTracker:
    """Begin an MLflow run, or continue that of the same folder or, for an evaluation, of the evaluated run.

    Args:
        run: the run that is logged.
        tracking_uri: MLflow's server or database; None: mlflow.db beside the run's folder.
        project, name, group, tags: of a new run, see RunsSettings.

    Raises:
        ValueError: if MLflow cannot be reached.
    """
    for variable, value in TIMEOUTS.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for package in ("mlflow", "alembic"):
        logging.getLogger(package).setLevel(logging.WARNING)
    trained = {} if run.of_run is None else read_logged(run.of_run, "mlflow")
    beside = f"sqlite:///{run.folder.parent.resolve() / 'mlflow.db'}"
    uri = trained.get("uri") or tracking_uri or beside
    stored = trained or read_logged(run.folder, "mlflow")
    try:
        client = MlflowClient(uri)
        if stored.get("uri") == uri:
            run_id = stored["id"]
            experiment_id = client.get_run(run_id).info.experiment_id
            if not trained:
                client.update_run(run_id, status="RUNNING")
        else:
            artifacts = (run.folder.parent / "mlflow_files").resolve().as_uri() if uri == beside else None
            experiment_id = _experiment(client, project, artifacts)
            run_tags = {"job": run.job, **dict.fromkeys(tags, "")}
            if group is not None:
                run_tags["group"] = group
            run_id = client.create_run(experiment_id, run_name=name, tags=run_tags).info.run_id
            update_logged(run.folder, "mlflow", id=run_id, uri=uri)
        if not trained:
            _log_config(client, run_id, run.config)
    except MlflowException as error:
        raise ValueError(
            f"logger=mlflow could not begin at {uri}: {str(error).splitlines()[0]}; "
            "logger.tracking_uri=sqlite:///FILE needs no server"
        ) from error
    run.say(f"mlflow     run {run_id}; to look at it: pip install mlflow; mlflow ui --backend-store-uri {uri}")
    return MLflowTracker(run, uri=uri, experiment_id=experiment_id, run_id=run_id, is_own=not trained)


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The id of the experiment of that name; it is made if there is none."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:  # another job of the sweep has made it meanwhile
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def _log_config(client: MlflowClient, run_id: str, config: dict[str, Any]) -> None:
    """Log the config as params, of which MLflow keeps the first values in a resumed run, and as config.json."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in flat(config).items() if name not in known]
    for start in range(0, len(params), 100):  # MLflow's limit for one call
        client.log_batch(run_id, params=params[start : start + 100])
    client.log_dict(run_id, config, "config.json")


def _as_csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in table.rows])
    return text.getvalue()
