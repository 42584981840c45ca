"""Whitened rows equal an exact PCA's, but for a rotation that no cosine sees."""

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.evaluation.probe.whitened import DIM, whitened

GENERATOR = torch.Generator().manual_seed(0)


def rows_of(n_numbers: int) -> Tensor:
    """Rows (500, n) whose directions have very different spreads."""
    spread = torch.logspace(1, -1, n_numbers)
    mixing = torch.linalg.qr(torch.randn(n_numbers, n_numbers, generator=GENERATOR))[0]
    return (torch.randn(500, n_numbers, generator=GENERATOR) * spread) @ mixing + 3


def exact(train: Tensor, test: Tensor, dim: int) -> Tensor:
    mean = train.double().mean(dim=0)
    _, values, axes = torch.linalg.svd(train.double() - mean, full_matrices=False)
    return F.normalize((test.double() - mean) @ axes[:dim].T / values[:dim])


def cosines(rows: Tensor) -> Tensor:
    return F.normalize(rows.double()) @ F.normalize(rows.double()).T


def test_cosines_are_those_of_a_pca_that_is_whitened() -> None:
    rows = rows_of(40)
    ours = whitened(rows[:400], rows[400:], seed=1)[1]
    assert torch.allclose(cosines(ours), cosines(exact(rows[:400], rows[400:], 40)), atol=1e-3)


def test_of_many_numbers_the_first_components_are_found() -> None:
    rows = rows_of(300)
    train, test = whitened(rows[:400], rows[400:], seed=1)
    assert train.shape == (400, DIM) and test.shape == (100, DIM)
    agreement = torch.corrcoef(
        torch.stack([cosines(test).flatten(), cosines(exact(rows[:400], rows[400:], DIM)).flatten()])
    )[0, 1]
    assert agreement > 0.95


def test_numbers_without_spread_are_left_out() -> None:
    rows = torch.cat([rows_of(5), torch.ones(500, 3), torch.zeros(500, 2)], dim=1)
    train, test = whitened(rows[:400], rows[400:], seed=1)
    assert train.shape[1] == 5 and torch.isfinite(test).all()
    constant = torch.ones(30, 4)
    assert torch.isfinite(whitened(constant, constant, seed=1)[0]).all()


def test_few_images_with_many_numbers_are_whitened_in_no_more_directions_than_images() -> None:
    rows = rows_of(300)
    train, test = whitened(rows[:40], rows[400:], seed=1)
    assert train.shape[1] == test.shape[1] == 39  # one direction is the mean's
    assert torch.allclose(cosines(test), cosines(exact(rows[:40], rows[400:], 39)), atol=1e-3)
