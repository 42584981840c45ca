"""MLflow: a tracking server, or one SQLite file beside the run's folder; a resumed run continues the same run."""

import csv
import io
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcluster.tracking.logger import Tracked, require
from deepcluster.tracking.recorder import Place, Recorder, Row, Table, flat, remember, remembered, size_histogram

STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
LONGEST_PARAM = 6000  # characters, MLflow's limit
# A server that does not answer is left after half a minute and not after several; the user's own values count.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@dataclass(kw_only=True)
class MLflow(Tracked):
    """MLflow; `project` is its experiment.

    Args:
        kind: "mlflow".
        tracking_uri: of a server or a database; null: MLFLOW_TRACKING_URI, and without it mlflow.db beside the run's
            folder, which all runs there share, the jobs of a sweep too.
    """

    kind: str = "mlflow"
    tracking_uri: str | None = None

    def check(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        require("mlflow", "mlflow", "sqlalchemy", "alembic")

    def open(self, place: Place) -> Recorder | None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        of_run = {} if place.of_run is None else remembered(place.of_run, "mlflow")
        uri = of_run.get("uri") or self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or _beside(place.folder)
        stored = of_run or remembered(place.folder, "mlflow")
        try:
            client = MlflowClient(uri)
            if stored.get("uri") == uri:
                run_id = stored["id"]
                if not of_run:
                    client.update_run(run_id, status="RUNNING")
                    _log_config(client, run_id, place.config)
            else:
                files = (place.folder.parent / "mlflow_files").resolve().as_uri()
                experiment = _experiment(client, self.project, files if uri == _beside(place.folder) else None)
                tags = {"job": place.job, **dict.fromkeys(self.tags, "")}
                if self.group is not None:
                    tags["group"] = self.group
                run_id = client.create_run(experiment, run_name=self.name, tags=tags).info.run_id
                remember(place.folder, "mlflow", id=run_id, uri=uri)
                _log_config(client, run_id, place.config)
        except MlflowException as error:
            raise ValueError(
                f"logger=mlflow could not begin at {uri}: {str(error).splitlines()[0]}; "
                "logger.tracking_uri=sqlite:///FILE needs no server"
            ) from error
        place.say(f"mlflow     run {run_id}; to look at it: pip install mlflow; mlflow ui --backend-store-uri {uri}")
        return MLflowRecorder(client, run_id, is_own=not of_run)


class MLflowRecorder:
    """One run of MLflow.

    Args:
        client: MLflow's.
        run_id: the run's.
        is_own: not that of a training run which an evaluation adds to, and whose state stays as it is.
    """

    def __init__(self, client: Any, run_id: str, *, is_own: bool) -> None:
        self.client = client
        self.run_id = run_id
        self.is_own = is_own
        self.last_step: int | None = None

    def row(self, row: Row) -> None:
        numbers = dict(row.numbers)
        if row.sizes is not None:  # it has no histograms: three curves, and the histogram as a file
            counts, edges = size_histogram(row.sizes)
            content = {"clusters": counts, "edges": edges}
            self.client.log_dict(self.run_id, content, f"cluster_sizes/epoch_{row.epoch:05d}.json")
            numbers["cluster/size_smallest"] = float(row.sizes.min())
            numbers["cluster/size_median"] = float(row.sizes.double().median())
            numbers["cluster/size_largest"] = float(row.sizes.max())
        if row.picture is not None:
            self.client.log_image(self.run_id, row.picture, key="clusters", step=row.epoch)
        for name, table in row.tables.items():
            self.client.log_text(self.run_id, _as_csv(table), f"tables/{name}.csv")
        self._metrics(numbers, row.epoch)

    def files(self, kind: str, name: str, paths: list[Path]) -> None:
        for path in paths:
            self.client.log_artifact(self.run_id, str(path), artifact_path=f"{kind}/{name}")

    def summary(self, numbers: dict[str, float], epoch: int) -> None:
        self._metrics(numbers, epoch)

    def close(self, status: str) -> None:
        if self.is_own:
            self.client.set_terminated(self.run_id, STATES[status])

    def _metrics(self, numbers: dict[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, epoch) for name, value in numbers.items()]
        self.client.log_batch(self.run_id, metrics=metrics)


def _beside(folder: Path) -> str:
    return f"sqlite:///{folder.parent.resolve() / 'mlflow.db'}"


def _experiment(client: Any, name: str, artifacts: str | None) -> str:
    """The id of the experiment of that name, which is made if there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:  # another job of the sweep was quicker
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _log_config(client: Any, run_id: str, config: dict[str, Any]) -> None:
    """As params, which MLflow never changes (so a resumed run's first values stay), and whole as config.json."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    new = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in flat(config).items() if name not in known]
    for start in range(0, len(new), 100):  # MLflow's limit of one call
        client.log_batch(run_id, params=new[start : start + 100])
    client.log_dict(run_id, config, "config.json")


def _as_csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in table.rows])
    return text.getvalue()
