"""evaluation=initial_alignment: its numbers and their picture. Next: alignment_chart.py draws the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.clusters.initial_alignment import InitialAlignment

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class DrawnInitialAlignment(InitialAlignment):
    """:class:`InitialAlignment` and its picture, initial_alignment.png (needs the extra viz; else it is left out)."""

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure as evaluation=initial_alignment does, and draw."""
        from deepcluster.evaluation.clusters.untrained_clusters import measure_untrained_clusters
        from deepcluster.visualization.alignment_chart import draw_alignment

        rows, numbers = measure_untrained_clusters(self, context)
        if rows[0]["nmi"] is not None:
            file = context.folder / "initial_alignment.png"
            network = context.stored.path.name.rpartition(".")[2]
            try:
                draw_alignment(
                    rows, file, title=f"{network}, untrained, on {context.data.source}: {self.n_seeds} seeds"
                )
                context.progress.say(f"picture    {file}")
            except ImportError as error:
                context.progress.say(f"no picture: {error}")
        return numbers
