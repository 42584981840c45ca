"""The cluster of each picture, by a run or a bundle: what `deepcluster predict` and DeepCluster.predict compute."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from deepcluster.data.settings import Source
from deepcluster.data.sources.listed import list_pictures, load_listed
from deepcluster.evaluation.bundle import names_of_clusters
from deepcluster.evaluation.clusters.clustered_images import stored_assignment
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.settings import Extraction
from deepcluster.run.evaluate import context_of_file, contexts


class Predicted(NamedTuple):
    """A batch of pictures: their numbers (B,), features (B, D), clusters (B,), distances to the centroids (B,)."""

    indices: Tensor
    features: Tensor
    clusters: Tensor
    distances: Tensor


def context_of_model(model: str, data: Source | None = None, *, seed: int = 1) -> EvaluationContext:
    """A network with its clusters.

    Args:
        model: a run's folder, or a bundle.
        data: the images; None: those of the run.

    Raises:
        FileNotFoundError, ValueError: if there is none, a file is damaged, or it holds no clusters.
    """
    context = context_of_file(model, data, None, None, contexts(Path(), Extraction(), seed=seed))
    stored_assignment(context)
    return context


def context_of_pictures(
    model: str, paths: Sequence[str], *, on_broken: str = "error", seed: int = 1
) -> EvaluationContext:
    """A network with its clusters, and pictures for it.

    Args:
        model: a run's folder, or a bundle.
        paths: pictures, and folders of them.
        on_broken: the value of reading.on_broken.

    Raises:
        FileNotFoundError, ValueError: see :func:`context_of_model`; also if pictures are missing or cannot be decoded.
    """
    listed = list_pictures(paths)
    context = context_of_model(model, listed, seed=seed)
    reading = replace(context.reading, on_broken=on_broken)
    return replace(context, loaded_images=load_listed(listed, reading, context.card["in_channels"]))


def predicted(context: EvaluationContext) -> Iterator[Predicted]:
    """The pictures of a context, batch by batch, in their order."""
    assignment, images = stored_assignment(context), context.train_images
    for indices, rows in context.feature_pass(images, convolutional=False).stream(torch.arange(len(images))):
        features = rows.float().cpu()
        yield Predicted(indices, features, *assignment.place(features))


def names_of(context: EvaluationContext) -> dict[str, str]:
    """Cluster -> name, as names.csv in the run or the bundle says; empty without it."""
    return names_of_clusters(None, context.stored.home, stored_assignment(context).k)
