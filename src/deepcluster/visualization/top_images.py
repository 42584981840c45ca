"""evaluation=top_images: the images that excite each channel of a stage most.

Next: strongest.py finds them, top_images_pages.py shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class TopImages(Evaluator):
    """Show the training images that excite each channel most, as the network sees them (resized, centre cropped).

    Args:
        kind: "top_images".
        stage: the stage whose channels are shown; "all" shows every stage, None the last.
        channels: numbers of the channels; None shows all.
        first: show only this many of them, from the first on; None shows them all.
        score: "mean" over the map after ReLU (original: visu/activ-retrieval.py), or "max", its strongest place.
        crop: "whole" images, or only the receptive "field" of the strongest place, grey beyond the image.
        n_top: number of images for each channel (original: 9).
        rows_per_page: number of channels on a page.
        tile: about how high an image is on the page, in pixels.
    """

    makes = "pictures"

    kind: str = "top_images"
    stage: str | None = None
    channels: list[int] | None = None
    first: int | None = setting(None, at_least=1)
    score: str = setting("mean", one_of=("mean", "max"))
    crop: str = setting("whole", one_of=("whole", "field"))
    n_top: int = setting(9, at_least=1)
    rows_per_page: int = setting(16, at_least=1)
    tile: int = setting(64, at_least=8)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels is not None and not self.channels:
            raise ValueError("evaluation.channels=[] names no channel; null shows all")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write top_images.csv, and top_images_STAGE.png (..._2.png, ... if there are more pages).

        Returns:
            n_images; for each stage STAGE_channels, STAGE_silent (channels that are 0 for every image) and STAGE_score,
            the highest score of a channel, averaged over those that are not silent.

        Raises:
            ValueError: if there is no such stage or channel.
        """
        from deepcluster.system.tables import write_csv
        from deepcluster.visualization.response import choose_stages
        from deepcluster.visualization.strongest import strongest_images
        from deepcluster.visualization.top_images_pages import cut_to_field, write_pages

        size = int(context.card["image_size"])
        stages = choose_stages(context.backbone, self.stage, channels=self.channels, first=self.first, size=size)
        images = context.train_images
        source = context.feature_pass(images)  # refuses images of other channels
        rows: list[list[object]] = []
        results: dict[str, float] = {"n_images": len(images)}
        for stage in stages:
            strongest = strongest_images(context, source, stage, by_mean=self.score == "mean", n_top=self.n_top)
            for channel, top in strongest.items():
                for rank, one in enumerate(top, start=1):
                    sample = images.samples[one.image]
                    rows.append([stage.name, channel, rank, sample, f"{one.score:.6g}", one.row, one.column])
            field = cut_to_field(context, stage.name, size) if self.crop == "field" else None
            cut = f", cut to the {field.rows.size} px seen there" if field is not None else ""
            best = "strongest answer at one place" if self.score == "max" else "highest mean"
            write_pages(
                context,
                source,
                stage,
                strongest,
                title=f"images with the {best}{cut}",
                field=field,
                n_columns=self.n_top,
                n_rows=self.rows_per_page,
                tile=self.tile,
            )
            scores = [top[0].score for top in strongest.values() if top]
            results |= {
                f"{stage.key}_channels": len(strongest),
                f"{stage.key}_silent": len(strongest) - len(scores),
                f"{stage.key}_score": sum(scores) / len(scores) if scores else 0.0,
            }
        file = context.folder / "top_images.csv"
        write_csv(file, ["stage", "channel", "rank", "sample", "score", "row", "column"], rows)
        context.progress.say(f"{len(rows):,} images by stage, channel and rank: {file}")
        return results
