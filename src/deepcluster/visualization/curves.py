"""evaluation=curves: the curves of one run or of several runs. Next: run_metrics.py reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Curves(Evaluator):
    """Draw the run's curves: agreement of assignments, cluster sizes, loss, objective, seconds by phase.

    Needs no images. Runs that are still training are drawn up to their last epoch.

    Args:
        kind: "curves".
        others: folders of runs, or their metrics.csv, to draw beside the checkpoint's.
        names: the runs' names in the legend, the checkpoint's first; by default the folders'.
    """

    makes = "pictures"

    kind: str = "curves"
    others: list[str] = setting([], is_path=True)
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check(self, "evaluation")
        if self.names and len(self.names) != 1 + len(self.others):
            raise ValueError(
                f"evaluation.names must name the run of ckpt and the {len(self.others)} of evaluation.others, "
                f"{1 + len(self.others)} in all, got {list(self.names)}"
            )

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write curves.png.

        Returns:
            n_runs; for the checkpoint's run n_epochs (rows of its metrics.csv) and, if logged, the last values of
            nmi_previous, nmi_labels, clusters_used and loss.

        Raises:
            FileNotFoundError: if a run has no metrics.csv.
            ValueError: if one is damaged or empty.
            ImportError: if matplotlib is missing.
        """
        from deepcluster.visualization.curves_chart import draw_curves
        from deepcluster.visualization.run_metrics import distinct_names, metrics_file, read_run

        paths = [context.stored.home, *map(Path, self.others)]
        files = [metrics_file(path) for path in paths]
        names = list(self.names) or distinct_names([file.parent for file in files])
        runs = [read_run(file, name) for file, name in zip(files, names, strict=True)]
        picture = context.folder / "curves.png"
        draw_curves(runs, picture)
        context.progress.say(f"curves     {picture}")
        columns = ("cluster/nmi_previous", "cluster/nmi_labels", "cluster/clusters_used", "train/loss")
        last_values = {column.partition("/")[2]: runs[0].last(column) for column in columns}
        logged = {name: value for name, value in last_values.items() if value is not None}
        return {"n_runs": len(runs), "n_epochs": len(runs[0].epochs), **logged}
