"""At the end of a run on image files: what is known of single images, by evaluation/samples. Next: summary.py."""

from pathlib import Path

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.evaluation.samples.sample_files import SampleFiles, root_of_files
from deepcluster.models.backbone import Backbone
from deepcluster.run.parts import Parts
from deepcluster.settings.train import TrainConfig


def write_sample_files(
    config: TrainConfig,
    parts: Parts,
    folder: Path,
    backbone: Backbone,
    assignment: Assignment,
    *,
    device: torch.device,
    rows_to: Tensor | None = None,
) -> dict[str, float]:
    """Write clusters.csv with the places of images, and the files that the group `files` asks for.

    Args:
        rows_to: (N, P) float32, is filled with the images' reduced rows, for the page; None: there is none.

    Returns:
        See :meth:`SampleFiles.write`.
    """
    parts.progress.say("writing files about single images")
    files = SampleFiles(
        folder=folder,
        images=parts.images,
        test_images=parts.test_images,
        root=root_of_files(config.data),
        settings=config.files,
        batch_size=config.extraction.batch_size,
        num_workers=parts.num_workers,
        device=device,
        seed=config.seed,
        progress=parts.progress,
    )
    feature_pass = parts.clusterer.feature_pass(backbone, device=device)
    return files.write(feature_pass, assignment, assignment.labels, dim=backbone.feature_dim, rows_to=rows_to)
