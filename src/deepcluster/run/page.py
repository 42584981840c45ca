"""The page at the end of a run: the evaluation "page" of its final.ckpt, on the images that are there already."""

from functools import partial
from pathlib import Path

from torch import Tensor

from deepcluster.data.settings import Folder
from deepcluster.run.evaluate import context_of_file, contexts
from deepcluster.run.parts import Parts
from deepcluster.settings.train import TrainConfig
from deepcluster.system.words import command
from deepcluster.visualization.page.evaluation import Page

MOST = 100_000  # images: above it the thumbnails and the search for neighbours take too long to come unasked


def wants_page(config: TrainConfig, n_images: int, *, is_of_sweep: bool) -> bool:
    """Whether the run ends with a page: as `page` says; left alone, of image files, if they are not too many.

    Args:
        is_of_sweep: this is one of many jobs, which nobody looks at one by one.
    """
    return _is_for_page(config, is_of_sweep) and n_images <= MOST if config.page is None else config.page


def write_page(config: TrainConfig, parts: Parts, folder: Path, *, rows: Tensor | None, is_of_sweep: bool) -> None:
    """Write RUN/page/, if it is wanted.

    Args:
        folder: the run's, with final.ckpt in it.
        rows: (N, P) float32 of the images that the run learned from, reduced; None: the network is asked for them.
        is_of_sweep: see :func:`wants_page`.
    """
    if not wants_page(config, len(parts.images), is_of_sweep=is_of_sweep):
        if config.page is None and _is_for_page(config, is_of_sweep):
            by_hand = command("page", folder)
            parts.progress.say(f"page       not of more than {MOST:,} images unless asked for: {by_hand}")
        return
    context_of = contexts(
        folder,
        config.extraction,
        seed=config.seed,
        precision=config.trainer["precision"],
        device=parts.device,
        progress=parts.progress,
    )
    known = partial(context_of, loaded_images=parts.images, loaded_rows=rows)
    Page().run(context_of_file(str(folder), config.data, config.reading, config.view, known))


def _is_for_page(config: TrainConfig, is_of_sweep: bool) -> bool:
    return isinstance(config.data, Folder) and not is_of_sweep
