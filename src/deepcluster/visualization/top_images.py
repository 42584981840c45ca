"""The images that excite each channel of a stage most: evaluation=top_images of eval.py."""

import csv
import io
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import feature_batches, n_workers
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.features.extraction import FeaturePass
from deepcluster.features.inference import inference_copy
from deepcluster.system.atomic import write_atomically
from deepcluster.visualization.receptive_field import Field, receptive_field
from deepcluster.visualization.response import choose_channels, choose_stages, stage_shape
from deepcluster.visualization.strongest import StageScores, Strongest
from deepcluster.visualization.tiles import as_picture, fitted, padded, save_picture, sheet

SCORES, CROPS = ("mean", "max"), ("whole", "field")


class Seen(NamedTuple):
    """An image at a rank of a channel: which of the set it is, its score, and the map's place that is strongest."""

    image: int
    score: float
    row: int
    column: int


@dataclass(kw_only=True)
class TopImages(Evaluator):
    """Show the training images that excite each channel most, as the network sees them (resized, centre cropped).

    Args:
        kind: "top_images".
        stage: whose channels; "all" shows those of every stage, None those of the last.
        channels: which of them; None shows all.
        first: only the first so many of those.
        score: "mean" over the map after ReLU (original: visu/activ-retrieval.py), or "max", its strongest place.
        crop: "whole" images, or only the receptive "field" of the strongest place; what lies beyond the image is grey.
        n_top: images of each channel (original: 9).
        rows_per_page: channels on a page.
        tile: about how high an image is on the page, in pixels.
    """

    kind: str = "top_images"
    stage: str | None = None
    channels: list[int] | None = None
    first: int | None = None
    score: str = "mean"
    crop: str = "whole"
    n_top: int = 9
    rows_per_page: int = 16
    tile: int = 64

    def __post_init__(self) -> None:
        for name, value, allowed in (("score", self.score, SCORES), ("crop", self.crop, CROPS)):
            if value not in allowed:
                raise ValueError(f"evaluation.{name} must be one of {', '.join(allowed)}, got {value}")
        for name, least in (("first", 1), ("n_top", 1), ("rows_per_page", 1), ("tile", 8)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"evaluation.{name} must be at least {least}, got {value}")
        if self.channels is not None and not self.channels:
            raise ValueError("evaluation.channels=[] names no channel; null shows all")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write top_images.csv, and top_images_STAGE.png (..._2.png, ... if there are more pages).

        Returns:
            n_images; for each stage STAGE_channels, STAGE_silent (no image moves them) and STAGE_score, the highest
            score of a channel, averaged over those that are not silent.

        Raises:
            ValueError: if there is no such stage or channel.
        """
        backbone, size = context.backbone, int(context.card["image_size"])
        plan = []
        for stage in choose_stages(backbone, self.stage):
            n_channels, _, width = stage_shape(backbone, stage, size)
            plan.append((stage, n_channels, width, choose_channels(self.channels, n_channels, stage, self.first)))
        images = context.train_images
        source = context.source(images)  # refuses images of other channels
        rows: list[list[object]] = []
        results: dict[str, float] = {"n_images": len(images)}
        for stage, n_channels, width, channels in plan:
            found = self._search(context, source, stage, n_channels, width)
            chosen = {channel: found[channel] for channel in channels}
            for channel, seen in chosen.items():
                for rank, one in enumerate(seen, start=1):
                    sample = images.samples[one.image]
                    rows.append([stage, channel, rank, sample, f"{one.score:.6g}", one.row, one.column])
            self._draw(context, images, source.view, stage, chosen)
            best = [seen[0].score for seen in chosen.values() if seen]
            name = stage.replace(".", "_")
            results |= {
                f"{name}_channels": len(channels),
                f"{name}_silent": len(channels) - len(best),
                f"{name}_score": sum(best) / len(best) if best else 0.0,
            }
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["stage", "channel", "rank", "sample", "score", "row", "column"])
        writer.writerows(rows)
        file = context.folder / "top_images.csv"
        write_atomically(file, text.getvalue().encode("utf-8", "surrogateescape"))
        context.progress.say(f"{len(rows):,} images by stage, channel and rank: {file}")
        return results

    def _search(
        self, context: EvaluationContext, source: FeaturePass, stage: str, n_channels: int, width: int
    ) -> list[list[Seen]]:
        """The strongest images of each channel; a score of exactly 0 is no answer and left out."""
        images = source.images
        # float32: bfloat16 keeps three digits, and many images would share a rank
        network = inference_copy(context.backbone, channels_last=True).to(context.device)
        scored = FeaturePass(
            network=StageScores(network, stage, self.score == "mean"),
            images=images,
            view=source.view,
            batch_size=source.batch_size,
            num_workers=source.num_workers,
            device=source.device,
        )
        strongest = Strongest(n_channels, self.n_top)
        with context.progress.bar(f"top images {stage}", len(images), "img") as advance:
            for indices, found in scored.stream(torch.arange(len(images))):
                found = found.cpu()
                for broken in getattr(images, "broken_later", {}):  # shown in grey: not to be ranked
                    found[indices == broken, :, 0] = -torch.inf
                strongest.update(indices, found)
                advance(len(indices))
        each = zip(strongest.indices.tolist(), strongest.scores.tolist(), strongest.places.tolist(), strict=True)
        return [
            [
                Seen(index, score, *divmod(place, width))
                for index, score, place in zip(*channel, strict=True)
                if index >= 0 and score not in (0.0, -torch.inf)
            ]
            for channel in each
        ]

    def _draw(
        self,
        context: EvaluationContext,
        images: ImageSet,
        view: FeatureView,
        stage: str,
        chosen: dict[int, list[Seen]],
    ) -> None:
        size = int(context.card["image_size"])
        field = receptive_field(context.backbone, stage, size) if self.crop == "field" else None
        if field is not None and min(field.rows.size, field.columns.size) >= size:
            field = None
        if self.crop == "field" and field is None:
            context.progress.say(f"{stage:10} its places see the whole image, or nearly: whole images are shown")
        what = "strongest answer at one place" if self.score == "max" else "highest mean"
        cut = f", cut to the {field.rows.size} px seen there" if field is not None else ""
        listed = list(chosen)
        n_pages = -(-len(listed) // self.rows_per_page)
        for page in range(n_pages):
            channels = listed[page * self.rows_per_page : (page + 1) * self.rows_per_page]
            wanted = sorted({one.image for channel in channels for one in chosen[channel]})
            pixels = as_seen(images, view, wanted, context)
            tiles: list[Image.Image | None] = []
            captions: list[str] = []
            for channel in channels:
                for rank in range(self.n_top):
                    one = chosen[channel][rank] if rank < len(chosen[channel]) else None
                    tiles.append(None if one is None else self._tile(pixels[one.image], one, field))
                    captions.append("" if one is None else f"{one.score:#.3g}")
            of = f" ({page + 1} of {n_pages})" if n_pages > 1 else ""
            picture = sheet(
                tiles,
                captions,
                n_columns=self.n_top,
                title=f"{stage}: images with the {what}{cut}{of}",
                row_names=[str(channel) for channel in channels],
            )
            file = context.folder / f"top_images_{stage.replace('.', '_')}{f'_{page + 1}' if page else ''}.png"
            save_picture(picture, file)
            context.progress.say(f"{stage:10} channels {channels[0]} to {channels[-1]}: {file}")

    def _tile(self, pixels: Tensor, one: Seen, field: Field | None) -> Image.Image:
        if field is not None:
            pixels = padded(pixels, field.rows.at(one.row), field.columns.at(one.column))
        return fitted(as_picture(pixels), self.tile)


def as_seen(images: ImageSet, view: FeatureView, wanted: list[int], context: EvaluationContext) -> dict[int, Tensor]:
    """The named images by index as the view shows them to the network: uint8 (C, S, S), resized and cropped."""
    mean, std = (torch.tensor(context.card[name]).view(-1, 1, 1) for name in ("mean", "std"))
    seen: dict[int, Tensor] = {}
    batches = feature_batches(
        images,
        view,
        torch.tensor(wanted, dtype=torch.int64),
        batch_size=context.extraction.batch_size,
        num_workers=n_workers(context.data, images) if len(wanted) > context.extraction.batch_size else 0,
    )
    for batch in batches:
        pixels = (255 * (view(batch.images) * std + mean)).round().clamp(0, 255).to(torch.uint8)
        seen |= dict(zip(batch.indices.tolist(), pixels, strict=True))
    return seen
