"""Pages with a row for each channel: its strongest images, the strongest first. Called by top_images.py."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import feature_batches
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.extraction import FeaturePass
from deepcluster.visualization.ascent import denormalise
from deepcluster.visualization.receptive_field import Field, receptive_field
from deepcluster.visualization.response import ChosenStage
from deepcluster.visualization.strongest import TopImage
from deepcluster.visualization.tiles import as_picture, fitted, padded, save_picture, sheet


def cut_to_field(context: EvaluationContext, stage: str, size: int) -> Field | None:
    """The receptive field of one place of the stage's maps; None, with a message, if it is about the whole image."""
    field = receptive_field(context.backbone, stage, size)
    if field is None or min(field.rows.size, field.columns.size) >= size:
        context.progress.say(f"{stage:10} its places see the whole image, or nearly: whole images are shown")
        return None
    return field


def write_pages(
    context: EvaluationContext,
    source: FeaturePass,
    stage: ChosenStage,
    strongest: Mapping[int, Sequence[TopImage]],
    *,
    title: str,
    field: Field | None,
    n_columns: int,
    n_rows: int,
    tile: int,
) -> None:
    """Write top_images_STAGE.png, ..._2.png, ...

    Args:
        source: the images, and the view that crops them.
        strongest: channel -> its images, the strongest first.
        title: stands above each page, after the stage's name.
        field: cut each image to this field around its strongest place; None shows whole images.
        n_columns: number of images for each channel.
        n_rows: number of channels on a page.
        tile: about how high an image is, in pixels.
    """
    channels = list(strongest)
    n_pages = -(-len(channels) // n_rows)
    for page in range(n_pages):
        rows = channels[page * n_rows : (page + 1) * n_rows]
        indices = sorted({one.image for channel in rows for one in strongest[channel]})
        pixels = as_seen(source.images, source.view, indices, context)
        tiles: list[Image.Image | None] = []
        captions: list[str] = []
        for channel in rows:
            top = strongest[channel]
            tiles += [fitted(as_picture(_cut(pixels[one.image], one, field)), tile) for one in top]
            tiles += [None] * (n_columns - len(top))
            captions += [f"{one.score:#.3g}" for one in top] + [""] * (n_columns - len(top))
        number = f" ({page + 1} of {n_pages})" if n_pages > 1 else ""
        names = [str(channel) for channel in rows]
        picture = sheet(tiles, captions, n_columns=n_columns, title=f"{stage.name}: {title}{number}", row_names=names)
        file = context.folder / f"top_images_{stage.key}{f'_{page + 1}' if page else ''}.png"
        save_picture(picture, file)
        context.progress.say(f"{stage.name:10} channels {rows[0]} to {rows[-1]}: {file}")


def _cut(pixels: Tensor, one: TopImage, field: Field | None) -> Tensor:
    return pixels if field is None else padded(pixels, field.rows.at(one.row), field.columns.at(one.column))


def as_seen(
    images: ImageSet, view: FeatureView, indices: Sequence[int], context: EvaluationContext
) -> dict[int, Tensor]:
    """index -> the image as the network sees it, before normalisation: uint8 (C, S, S), resized and cropped."""
    seen: dict[int, Tensor] = {}
    several_batches = len(indices) > context.extraction.batch_size
    batches = feature_batches(
        images,
        view,
        torch.tensor(indices, dtype=torch.int64),
        batch_size=context.extraction.batch_size,
        num_workers=context.n_workers(images, context.extraction.batch_size) if several_batches else 0,
    )
    for batch in batches:
        pixels = denormalise(view(batch.images), context.card["mean"], context.card["std"])
        seen |= dict(zip(batch.indices.tolist(), pixels, strict=True))
    return seen
