"""The page at the end of a run: the evaluation "page" of its final.ckpt, on the images that are there already."""

from functools import partial
from pathlib import Path

import torch

from deepcluster.data.images import ImageSet
from deepcluster.data.settings import Folder
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.precision import choose_precision
from deepcluster.run.evaluate import context_of_file
from deepcluster.settings.train import TrainConfig
from deepcluster.system.program import program
from deepcluster.system.progress import Progress
from deepcluster.system.quoting import argument
from deepcluster.visualization.page.evaluation import Page

MOST = 100_000  # images: above it the thumbnails and the search for neighbours take too long to come unasked


def write_page(config: TrainConfig, images: ImageSet, folder: Path, progress: Progress, *, is_of_sweep: bool) -> None:
    """Write RUN/page/, if `page` says so.

    Args:
        images: that the run learned from.
        folder: the run's, with final.ckpt in it.
        is_of_sweep: this is one of many jobs, which nobody looks at one by one.
    """
    unasked = isinstance(config.data, Folder) and not is_of_sweep
    if config.page is None and unasked and len(images) > MOST:
        by_hand = f"{program('eval')} {argument('ckpt', folder)} evaluation=page"
        progress.say(f"page       not of more than {MOST:,} images unless asked for: {by_hand}")
        return
    if not (unasked if config.page is None else config.page):
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    context_of = partial(
        EvaluationContext,
        extraction=config.extraction,
        folder=folder,
        seed=config.seed,
        progress=progress,
        device=device,
        dtype=choose_precision("auto", device).extraction,
        loaded_images=images,
    )
    Page().run(context_of_file(str(folder), config.data, config.reading, config.view, context_of))
