"""One step of DeepCluster-v2, of SwAV (Caron et al. 2020) and of co-teaching, straight down from the papers.

Weights are those of a network of one convolution, an average over places and an MLP, by their names in the module.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]


def unit_embeddings(weights: Weights, crops: Sequence[Tensor]) -> Tensor:
    """Crops, each (B, C, S, S), to unit rows (V, B, E); BatchNorm normalises over all crops together."""
    maps = [F.conv2d(crop, weights["backbone.features.conv1.weight"]) for crop in crops]
    features = torch.cat([m.mean(dim=(2, 3)) for m in maps]).relu()
    hidden = features @ weights["embedding.1.weight"].T + weights["embedding.1.bias"]
    centred = hidden - hidden.mean(dim=0)
    normal = centred / (hidden.var(dim=0, unbiased=False) + 1e-5).sqrt()
    active = (normal * weights["embedding.2.weight"] + weights["embedding.2.bias"]).relu()
    rows = active @ weights["embedding.4.weight"].T + weights["embedding.4.bias"]
    return (rows / rows.norm(dim=1, keepdim=True)).view(len(crops), len(crops[0]), -1)


def v2_loss(
    weights: Weights, crops: Sequence[Tensor], centroids: Sequence[Tensor], labels: Tensor, *, temperature: float
) -> Tensor:
    """The mean over H labelings of the cross-entropy of every crop with its image's cluster; labels: (H, B)."""
    rows, losses = unit_embeddings(weights, crops), []
    for of_labeling, vectors in zip(labels, centroids, strict=True):
        for crop in rows:
            for row, label in zip(crop, of_labeling.tolist(), strict=True):
                logits = vectors @ row / temperature
                losses.append(logits.exp().sum().log() - logits[label])
    return torch.stack(losses).mean()


def swav_loss(
    weights: Weights, crops: Sequence[Tensor], prototypes: Tensor, queue: Tensor, *, temperature: float, epsilon: float
) -> Tensor:
    """Swapped prediction: crops 0 and 1 give the targets of all other crops. queue: unit rows (2, L, E)."""
    scores, losses = unit_embeddings(weights, crops) @ prototypes.T, []
    for large in (0, 1):
        with torch.no_grad():
            together = torch.cat([scores[large], queue[large] @ prototypes.T]).double()
            plan = (together / epsilon).exp().T  # (K, n), as in the paper's listing
            plan /= plan.sum()
            for _ in range(3):
                plan /= plan.sum(dim=1, keepdim=True) * plan.shape[0]
                plan /= plan.sum(dim=0, keepdim=True) * plan.shape[1]
            targets = (plan * plan.shape[1]).T[: scores.shape[1]].float()
        for crop in range(len(crops)):
            if crop != large:
                losses.append(-(targets * (scores[crop] / temperature).log_softmax(dim=1)).sum(dim=1).mean())
    return torch.stack(losses).mean()


def co_teaching_losses(
    weights: Sequence[Weights],
    crops: Sequence[Tensor],
    prototypes: Sequence[Tensor],
    labels: Tensor,
    *,
    temperature: float,
    n_kept: int,
) -> tuple[Tensor, Tensor]:
    """Algorithm 1 of Han et al. 2018, lines 4 to 7: each network's loss on the images that the other finds easiest."""
    by_image = []
    for of_network, vectors in zip(weights, prototypes, strict=True):
        logits = unit_embeddings(of_network, crops) @ vectors.T / temperature
        each = [
            [scores.exp().sum().log() - scores[label] for scores, label in zip(crop, labels.tolist(), strict=True)]
            for crop in logits
        ]
        by_image.append(torch.stack([torch.stack(crop) for crop in each]).mean(dim=0))
    easiest = [sorted(range(len(labels)), key=lambda i: float(losses[i]))[:n_kept] for losses in by_image]
    assert set(easiest[0]) != set(easiest[1])
    return by_image[0][easiest[1]].mean(), by_image[1][easiest[0]].mean()
