"""Figures of two random crops of a picture, which need no labels."""

import numpy as np
import pytest
import torch
from support import tiny

from deepcluster.data.view_settings import View
from deepcluster.data.views import train_view
from deepcluster.evaluation.clusters.two_crops import two_crop_figures, two_crop_rows


def test_crops_that_are_equal_are_nearest_and_together() -> None:
    rows = torch.randn(1, 40, 8, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1)
    figures = two_crop_figures(rows, 4, seed=1)
    assert figures["crops_nearest"] == figures["crops_together"] == 1 and 0 < figures["seeds_agree"] <= 1


def test_the_nearest_crop_by_hand() -> None:
    """Of ten pictures the first two have swapped a crop; the others lie on axes of their own."""
    one = torch.eye(10)
    two = one + 0.1 * torch.ones(10, 10)
    two[[0, 1]] = two[[1, 0]]
    assert two_crop_figures(torch.stack([one, two]), 2, seed=1)["crops_nearest"] == 16 / 20


def test_whitened_the_light_of_a_crop_does_not_hide_its_picture() -> None:
    """Against NumPy's principal components; the light is 30 times as strong as what tells the pictures apart."""
    normal = np.random.default_rng(0).standard_normal
    pictures = np.stack([normal((60, 12))] * 2) + 0.05 * normal((2, 60, 12))
    rows = np.concatenate([pictures, 30 * normal((2, 60, 1))], axis=2).astype(np.float32)
    flat = rows.reshape(120, 13)
    axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[0]
    cosines = (axes / np.linalg.norm(axes, axis=1, keepdims=True)) @ (
        axes / np.linalg.norm(axes, axis=1, keepdims=True)
    ).T
    np.fill_diagonal(cosines, -1)
    expected = (cosines.argmax(axis=1) == (np.arange(120) + 60) % 120).mean()

    figures = two_crop_figures(torch.from_numpy(rows), 4, seed=1)
    assert figures["crops_nearest_whitened"] == pytest.approx(expected) and expected > 0.8
    assert figures["crops_nearest"] < 0.4


def test_few_pictures_have_no_figures() -> None:
    assert two_crop_figures(torch.ones(2, 9, 3), 2, seed=1) == {}


def test_the_same_seed_gives_the_same_two_crops_and_they_differ() -> None:
    pictures = tiny.images(20)
    crop = train_view(View(size=16, crop_scale=[0.3, 0.6]), pictures, [0.0], [1.0])

    def rows(seed: int, batch_size: int = 20) -> torch.Tensor:
        return two_crop_rows(
            lambda images: images.flatten(1),
            pictures,
            crop,
            batch_size=batch_size,
            num_workers=0,
            device=torch.device("cpu"),
            seed=seed,
        )

    first = rows(1)
    assert first.shape == (2, 20, 256) and torch.equal(first, rows(1))
    assert not torch.equal(first, rows(2)) and not torch.equal(first[0], first[1])
