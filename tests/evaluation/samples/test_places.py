from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepcluster.clustering.assignment import Assignment
from deepcluster.data.images import MemoryImages
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.samples import places
from deepcluster.evaluation.samples.places import Places, find_places, write_features
from deepcluster.features.extraction import FeaturePass


def a_pass(pixels: Tensor, batch_size: int = 4) -> FeaturePass:
    """Features are the pixels."""
    images = MemoryImages(images=pixels, samples=[str(i) for i in range(len(pixels))])
    return FeaturePass(
        network=nn.Flatten(),
        images=images,
        view=FeatureView(2, 2, [0.0], [1 / 255]),
        batch_size=batch_size,
        num_workers=0,
        device=torch.device("cpu"),
    )


def test_distances_and_margins_are_those_of_the_plain_formula(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (30, 1, 2, 2), generator=torch.Generator().manual_seed(1)).byte()
    x = pixels.flatten(1).float()
    centroids = torch.cat([x[:4], torch.full((1, 4), 1000.0)])
    own = torch.tensor([0, 1, 2, 3, -1] + [i % 4 for i in range(25)])
    assignment = Assignment(labels=own, k=5, objective=0.0, centroids=centroids, n_unused=1)
    apart = torch.stack([torch.stack([(row - c).norm() for c in centroids[:4]]) for row in x])
    file = tmp_path / "embeddings.npy"
    for labels in (own, None):
        found = find_places(a_pass(pixels), assignment, labels=labels, advance=lambda n: None, features_to=file)
        clusters = own if labels is not None else apart.argmin(1)
        assert torch.equal(found.clusters, clusters)
        for i, cluster in enumerate(clusters.tolist()):
            if cluster < 0:
                assert found.distances[i].isnan() and found.margins[i].isnan()
                continue
            others = [float(d) for c, d in enumerate(apart[i]) if c != cluster]
            assert torch.isclose(found.distances[i], apart[i, cluster])
            assert torch.isclose(found.margins[i], min(others) - apart[i, cluster], atol=1e-4)
        assert np.array_equal(np.load(file), x.numpy())
    assert write_features(a_pass(pixels, batch_size=7), tmp_path / "again.npy", advance=lambda n: None) == 4
    assert np.array_equal(np.load(tmp_path / "again.npy"), x.numpy())


def test_ranks_count_from_the_nearest_in_each_cluster() -> None:
    distances = torch.tensor([0.3, 0.1, 0.2, 0.2, torch.nan])
    found = Places(clusters=torch.tensor([1, 1, 0, 1, -1]), distances=distances, margins=distances)
    assert found.ranks().tolist() == [3, 1, 1, 2, 0]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(0, 256, (20, 1, 2, 2), generator=torch.Generator().manual_seed(2)).byte()
    labels = torch.arange(20) % 3
    assignment = Assignment(labels=labels, k=3, objective=0.0, centroids=pixels[:3].flatten(1).float())
    whole = find_places(a_pass(pixels), assignment, labels=None, advance=lambda n: None)
    monkeypatch.setattr(places, "SCORES_PER_BLOCK", 3)
    parts = find_places(a_pass(pixels), assignment, labels=None, advance=lambda n: None)
    assert torch.equal(whole.distances, parts.distances) and torch.equal(whole.clusters, parts.clusters)
