"""Give clusters the numbers of the last assignment's, so that cluster 17 stays 17. The clusters stay as they are."""

import dataclasses

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.metrics import LARGEST_EXACT_MATCHING, greedy_matching


def matched(assignment: Assignment, previous_labels: Tensor, previous_k: int) -> Assignment:
    """The same clusters, renumbered so that as many images as possible keep their label.

    The numbering is the best one (Hungarian algorithm) up to K = 5000; above, it is greedy, largest overlap first.
    Among equally good ones, clusters keep the numbers that they have. With fewer clusters than before, the numbers
    stay below the new K; with more, the surplus ones get the new numbers.

    Args:
        assignment: of N images, with K clusters.
        previous_labels: (N,) int64 in 0..previous_k-1, of the same images; -1: none.
        previous_k: number of clusters before.

    Raises:
        ValueError: if the labels are not those of the same images.
    """
    labels, before = assignment.labels, previous_labels.to(assignment.labels.device)
    if before.shape != labels.shape or int(before.min()) < -1 or int(before.max()) >= previous_k:
        raise ValueError(
            f"labels of the same {len(labels)} images in 0..{previous_k - 1} are needed, got {len(before)} in "
            f"{int(before.min())}..{int(before.max())}"
        )
    both = (labels >= 0) & (before >= 0) & (before < assignment.k)
    numbers = _numbers(labels[both].cpu(), before[both].cpu(), assignment.k)
    if torch.equal(numbers, torch.arange(assignment.k)):
        return assignment
    numbers = numbers.to(labels.device)
    centroids = torch.empty_like(assignment.centroids)
    centroids[numbers.to(centroids.device)] = assignment.centroids
    soft = assignment.soft
    if soft is not None:
        soft = soft._replace(numbers=numbers.int()[soft.numbers])
    labels = torch.where(labels < 0, labels, numbers[labels.clamp_min(0)])
    return dataclasses.replace(assignment, labels=labels, centroids=centroids, soft=soft)


def _numbers(labels: Tensor, before: Tensor, k: int) -> Tensor:
    """The new number of each cluster (K,), a permutation; labels and before (M,) in 0..K-1."""
    if k <= LARGEST_EXACT_MATCHING:
        overlap = torch.bincount(labels * k + before, minlength=k * k).view(k, k).double()
        # An image outweighs all preferences for the old number together, which only decide among equals.
        preference = torch.eye(k, dtype=torch.float64) / (k + 1)
        numbers = linear_sum_assignment((overlap + preference).numpy(), maximize=True)[1]
        return torch.from_numpy(numbers).long()
    cells, counts = torch.unique(labels * k + before, return_counts=True)
    new = np.full(k, -1, dtype=np.int64)
    if len(cells) > 0:
        for row, column, _ in greedy_matching(cells // k, cells % k, counts):
            new[row] = column
    is_taken = np.isin(np.arange(k), new)
    stays = (new < 0) & ~is_taken
    new[stays] = np.flatnonzero(stays)
    new[new < 0] = np.setdiff1d(np.arange(k), new)
    return torch.from_numpy(new)
