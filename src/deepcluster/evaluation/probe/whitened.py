"""Rows with the same spread along all of their first principal components. For knn_and_probe.py."""

import torch
from torch import Tensor

from deepcluster.system.seeding import generator

DIM = 128  # components that are kept
LEAST_SHARE = 1e-6  # of the largest variance: directions of less are left out, as whitening would magnify their noise


@torch.no_grad()
def whitened(train_x: Tensor, test_x: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """PCA-whiten rows (N, M) and (n, M) by the first 128 components of the training rows, or as many as there are.

    A few directions of large variance decide about cosines of plain rows; here all count alike. The rows come out
    rotated in some way, of which cosines know nothing.

    Args:
        seed: of the directions from which the search for components begins.
    """
    mean = train_x.mean(dim=0)
    centred, others = train_x - mean, test_x - mean
    dim = min(DIM, *centred.shape)
    if dim < centred.shape[1]:  # else the covariance of few images with many numbers would take minutes
        directions = leading_directions(centred, dim, seed=seed)
        centred, others = centred @ directions, others @ directions
    covariance = (centred.T @ centred).double() / len(centred)
    variances, axes = torch.linalg.eigh(covariance)
    kept = variances > variances[-1] * LEAST_SHARE  # rows of fewer dimensions than they have numbers
    scale = (axes[:, kept] / variances[kept].sqrt()).to(centred.dtype)
    return centred @ scale, others @ scale


def leading_directions(centred: Tensor, dim: int, *, seed: int) -> Tensor:
    """An orthonormal basis (M, P) of about the first P principal components of centred rows (N, M).

    By subspace iteration from random directions (Halko, Martinsson and Tropp 2011, algorithm 4.4).
    """
    directions = torch.randn(centred.shape[1], dim, generator=generator(seed, "directions")).to(centred.device)
    for _ in range(2):
        directions = torch.linalg.qr(centred.T @ (centred @ directions))[0]
    return directions
