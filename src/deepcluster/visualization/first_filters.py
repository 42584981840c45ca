"""evaluation=first_filters: the filters of a network's first convolution. Next: filters_picture.py draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext

FILTER_HEIGHT = 56  # about how many pixels high a filter is drawn, if zoom is not set


@dataclass(kw_only=True)
class FirstFilters(Evaluator):
    """Draw first_filters.png. Each filter is scaled by its own largest value; mid-grey is 0.

    Args:
        kind: "first_filters".
        n_columns: filters in a row; None: about as many as rows.
        zoom: each value of a filter becomes a square of this many pixels; None: a filter is about 56 pixels high.
    """

    makes = "pictures"

    kind: str = "first_filters"
    n_columns: int | None = setting(None, at_least=1)
    zoom: int | None = setting(None, at_least=1)

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write first_filters.png.

        Returns:
            n_filters, and n_channels, height and width of each filter.

        Raises:
            ValueError: if the network has no convolution.
        """
        from deepcluster.visualization.filters_picture import first_convolution, save_filters

        name, filters = first_convolution(context.backbone)
        n_filters, n_channels, height, width = filters.shape
        file = context.folder / "first_filters.png"
        zoom = self.zoom or max(1, round(FILTER_HEIGHT / height))
        save_filters(filters, file, n_columns=self.n_columns, zoom=zoom)
        sobel = "; the two channels of Sobel side by side" if context.backbone.sobel is not None else ""
        context.progress.say(f"{n_filters} filters of {name}, {n_channels}x{height}x{width}{sobel}: {file}")
        return {"n_filters": n_filters, "n_channels": n_channels, "height": height, "width": width}
