"""A bundle of a second: LeNet5 for 16 px of colours, five clusters of painted pictures in a folder."""

from pathlib import Path

import torch
from reference.networks_2018 import stir
from reference.pictures import encoded, picture
from support.evaluated import Said

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Folder
from deepcluster.data.view_settings import View
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.export import Export
from deepcluster.features.settings import Extraction
from deepcluster.models.lenet import LeNet5
from deepcluster.weights.recognise import Weights

K, SIZE, N = 5, 16, 40


def paint(folder: Path, n: int = N, first: int = 0) -> Path:
    """Pictures of three shapes in a folder and one below it; returns the folder."""
    for i in range(n):
        file = folder / ("more" if i % 2 else "") / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        height, width = ((40, 30), (33, 57), (24, 24))[i % 3]
        file.write_bytes(encoded(picture(first + i, height, width).convert("RGB"), "PNG"))
    return folder


def clustered(folder: Path, pictures: Path, *, stored_size: int | None = None) -> EvaluationContext:
    """A network and its clusters of the pictures, in a folder laid out like a run's."""
    torch.manual_seed(0)
    backbone = LeNet5(3, SIZE, batch_norm=True).eval()
    stir(backbone, 1)
    card = {
        "arch": {"_target_": "deepcluster.models.lenet.LeNet5", "batch_norm": True},
        "in_channels": 3,
        "image_size": SIZE,
        "resize": 18,
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.25, 0.3],
    }
    data = Folder(root=str(pictures), n_channels=3)
    context = EvaluationContext(
        backbone=backbone,
        stored=Weights(path=folder / "checkpoints" / "final.ckpt", format="test", tensors={}, card=card, epoch=3),
        data_settings=data,
        run_data=data,
        reading=Reading(stored_size=stored_size, cache_dir="none", num_workers=0),
        view=View(size=SIZE, resize=18),
        extraction=Extraction(batch_size=16),
        folder=folder,
        seed=1,
        progress=Said(),
        device=torch.device("cpu"),
    )
    images = context.train_images
    features = torch.cat(
        [rows for _, rows in context.feature_pass(images, convolutional=False).stream(torch.arange(N))]
    )
    reduction = Reduction(dim=8).fit_rows(features)
    rows = reduction.apply(features)
    centroids = rows[:K].clone()
    labels = torch.cdist(rows, centroids).argmin(dim=1)
    objective = float((rows - centroids[labels]).square().sum())
    context.stored.assignment = Assignment(
        labels=labels, k=K, objective=objective, centroids=centroids, reduction=reduction
    )
    return context


def bundle(folder: Path, pictures: Path, *formats: str, stored_size: int | None = None) -> Path:
    """The folder of a bundle."""
    context = clustered(folder, pictures, stored_size=stored_size)
    Export(formats=["bundle", *formats], out=str(folder / "bundle")).run(context)
    return folder / "bundle"
