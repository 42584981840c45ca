"""Embeddings: places, thinning and numbers by hand; repeatable; thumbnails do not cover each other."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register
from deepcluster.data.images import FileImages, MemoryImages
from deepcluster.run.evaluate import evaluate
from deepcluster.run.train import train
from deepcluster.settings.eval import EvalConfig, eval_config
from deepcluster.settings.train import train_config
from deepcluster.visualization import embedding_charts
from deepcluster.visualization.charts import colours
from deepcluster.visualization.embedding import Embedding
from deepcluster.visualization.plane import faithfulness, label_agreement, project
from deepcluster.visualization.sample_space import Sample
from deepcluster.visualization.thumbnails import has_alpha, in_colours, magnified


def blobs(n: int = 90) -> Sample:
    """Three kinds at right angles, close together."""
    labels = torch.arange(n) % 3
    noise = 0.05 * torch.randn(n, 6, generator=torch.Generator().manual_seed(0))
    features = torch.nn.functional.normalize(torch.eye(3, 6)[labels] + noise, dim=1)
    return Sample(indices=torch.arange(n), features=features, clusters=labels, own=True, labels=labels)


@pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_kinds_stay_together_and_a_seed_repeats(method):
    if method == "umap":
        pytest.importorskip("umap")
    sample = blobs()
    settings = {"method": method, "metric": "cosine", "perplexity": 10, "n_neighbors": 15, "min_dist": 0.1}
    plane = project(sample.features.numpy(), **settings, seed=1)
    numbers = faithfulness(sample, plane, k=5, metric="cosine")
    assert numbers["knn_label_agreement"] == numbers["knn_label_agreement_features"] == 1.0
    assert numbers["trustworthiness"] > 0.9
    assert np.array_equal(project(sample.features.numpy(), **settings, seed=1), plane)
    moved = plane[np.random.default_rng(0).permutation(len(plane))]
    shuffled = faithfulness(sample, moved, k=5, metric="cosine")
    assert shuffled["trustworthiness"] < 0.6 and shuffled["knn_label_agreement"] < 0.5


def test_label_agreement_by_hand():
    points = np.array([[0.0], [1.0], [2.5], [2.6], [50.0]])
    # nearest of 0, 1, 2.5, 2.6: 1, 0, 2.6, 2.5; the fifth has no label and counts nowhere
    labels = torch.tensor([0, 0, 0, 1, -1])
    assert label_agreement(points, labels, 1, "euclidean") == 0.5
    assert np.isnan(label_agreement(points, labels, 4, "euclidean"))


def test_thinning_keeps_the_point_nearest_to_each_cells_middle():
    # A square of 4 x 4 in 2 x 2 cells, whose middles are at 1 and 3.
    plane = np.array([[0.0, 0.0], [1.2, 1.1], [4.0, 4.0], [3.0, 0.5], [3.0, 0.9]])
    assert embedding_charts.thin(plane, 2) == [(2, 0, 1), (1, 1, 0), (4, 1, 1)]  # row 0 is the top
    spread = np.random.default_rng(0).normal(size=(500, 2))
    cells = [(row, column) for _, row, column in embedding_charts.thin(spread, 9)]
    assert len(set(cells)) == len(cells) and all(0 <= i < 9 for cell in cells for i in cell)
    assert embedding_charts.thin(np.zeros((3, 2)), 4)[0][0] == 0  # all in one place


def test_a_mosaic_shows_every_thumbnail_whole(tmp_path):
    pictures = [torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (10, 20, 30)]
    embedding_charts.mosaic(pictures, [(5, 2), (5, 3), (7, 2)], tmp_path / "mosaic.png")
    shown = np.array(Image.open(tmp_path / "mosaic.png").convert("RGB"))
    factor = round(embedding_charts.LEAST_PIXELS / (3 * 8))
    assert [int((shown[..., 0] == value).sum()) for value in (10, 20, 30)] == [(8 * factor) ** 2] * 3
    assert shown[factor + 1, factor + 1, 0] == 10 and shown[-factor - 2, factor + 1, 0] == 30


def test_colours_differ_and_lie_in_range():
    for n in (1, 20, 21, 1000):
        palette = colours(n)
        assert palette.shape == (n, 3) and palette.min() >= 0 and palette.max() <= 1
        assert len(np.unique(palette.round(6), axis=0)) == n


def test_images_of_any_channels_become_colours():
    grey = torch.tensor([[[0, 100]]], dtype=torch.uint8)
    assert in_colours(grey).tolist() == [[[0, 100]]] * 3
    see_through = torch.tensor([[[0, 100]], [[0, 255]]], dtype=torch.uint8)
    assert in_colours(see_through, alpha=True).tolist() == [[[255, 100]]] * 3
    many = torch.arange(5, dtype=torch.uint8).view(5, 1, 1)
    assert in_colours(many).flatten().tolist() == [0, 1, 2]
    assert in_colours(many[:2]).flatten().tolist() == [0, 0, 0]
    files = FileImages(root=Path("."), samples=["a.png"], n_channels=4)
    arrays = FileImages(root=Path("."), samples=["a.npy"], n_channels=4)
    plain = MemoryImages(images=torch.zeros(1, 3, 2, 2, dtype=torch.uint8), samples=["0"])
    assert [has_alpha(images) for images in (files, arrays, plain)] == [True, False, False]
    assert magnified(grey.expand(3, -1, -1), 2)[0].tolist() == [[0, 0, 100, 100]] * 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[Path]:
    """The folder of a run of no epochs on 120 images."""
    folder: Path = tmp_path_factory.mktemp("embedding") / "run"
    register()
    small = ["data.limit=120", "view.size=32", "arch=lenet5", "reduction.dim=8", "clustering.k=5"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        settings = compose("train", [*small, "evaluation.enabled=false", "trainer.max_epochs=0"])
        train(train_config(settings), folder)
        yield folder


def test_a_run_is_embedded_with_its_own_clusters(finished, tmp_path):
    settings = Embedding(n_images=80, k=5, thumbnails=10)
    results = evaluate(EvalConfig(ckpt=str(finished), evaluation=settings), tmp_path)
    assert {"embedding_clusters.png", "embedding_labels.png", "embedding_thumbnails.png"} <= {
        file.name for file in tmp_path.iterdir()
    }
    with (tmp_path / "embedding.csv").open() as a, (finished / "clusters.csv").open() as b:
        shown, own = list(csv.DictReader(a)), {row["sample"]: row for row in csv.DictReader(b)}
    assert len(shown) == results["n_images"] == 80
    for row in shown:
        assert (row["cluster"], row["label"]) == (own[row["sample"]]["cluster"], own[row["sample"]]["label"])
    places = np.array([[float(row["x"]), float(row["y"])] for row in shown])
    names = sorted({row["label"] for row in shown})
    labels = torch.tensor([names.index(row["label"]) for row in shown])
    assert label_agreement(places, labels, 5, "euclidean") == pytest.approx(results["knn_label_agreement"], abs=0.01)


def test_an_untrained_network_is_embedded_as_the_run_that_starts_with_it(finished, tmp_path):
    small = Embedding(n_images=80, k=5, thumbnails=0)
    evaluate(EvalConfig(ckpt=str(finished), evaluation=small), tmp_path / "of_run")
    words = ["evaluation=embedding", "arch=lenet5", "data=fashion_mnist_mini", "data.limit=120", "view.size=32"]
    named = replace(eval_config(compose("eval", words), words), evaluation=small)  # Hydra stands by `finished`
    results = evaluate(named, tmp_path / "named")
    assert "arch" in results and not (tmp_path / "named" / "embedding_clusters.png").exists()
    of_run, own = (list(csv.DictReader((tmp_path / n / "embedding.csv").open())) for n in ("of_run", "named"))
    assert [(row["x"], row["y"], row["label"]) for row in own] == [(r["x"], r["y"], r["label"]) for r in of_run]


def test_impossible_settings_are_refused(finished, tmp_path):
    for key, value in (
        ("method", "pca"),
        ("metric", "l1"),
        ("split", "val"),
        ("n_images", 5),
        ("dim", 1),
        ("k", 0),
        ("n_neighbors", 1),
        ("thumbnails", -1),
        ("perplexity", 1.0),
        ("min_dist", 2.0),
        ("clusters", "mine"),
    ):
        with pytest.raises(ValueError, match=rf"evaluation\.{key}"):
            Embedding(**{key: value})
    with pytest.raises(ValueError, match=r"evaluation.k=60 needs more than 120 images, there are 120"):
        evaluate(EvalConfig(ckpt=str(finished), evaluation=Embedding(k=60)), tmp_path)
