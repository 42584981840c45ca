"""Numbers in, sentences out: is a run learning, or has its network collapsed? Next: health_check.py measures them.

Nothing here knows a Trainer. All numbers are measured on two random crops each of n images.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from deepcluster.clustering.collapse import ONE_CLUSTER

NEIGHBOURS = 10  # of the k-NN vote: some hundred images have few of each class
FEWEST_IMAGES = 200  # below, a share of images is too uncertain to advise anything
FEWEST_STEPS = 300  # before, a loss near chance and features below the untrained network's are nothing unusual
STANDARD_ERRORS = 2  # a difference of two shares that chance alone exceeds in one of 20 cases
NEARLY_ALL = 0.9  # agreement from which on little can be gained
AT_CHANCE = 0.98  # share of ln K: a head that has learned a little is below within an epoch
RANK_ONE = 1.06  # exp(entropy) of 99 % of the variance along one direction and 1 % along another
LOW_RANK = 1.5  # too few directions for 10 clusters; a healthy run's rank falls from 19 to 5 on the embedded images
GIANT = 0.5  # share of the images in one of at least 10 clusters
DEAD = 0.2  # share of the clusters without an image of their own
UNUSED = 0.2  # share of the prototypes that could be used


def effective_rank(features: Tensor) -> float:
    """exp(entropy) of the covariance's eigenvalues as shares of the variance: 1 to D; 0 if all rows are equal.

    Args:
        features: (n, D).

    Source: Roy and Vetterli, The effective rank, 2007, of the covariance matrix.
    """
    centred = features.double().cpu()
    scale = centred.square().sum()
    centred = centred - centred.mean(dim=0)
    if float(centred.square().sum()) <= 1e-12 * float(scale):  # float32 rounding, no variance
        return 0.0
    n, dim = centred.shape
    gram = centred @ centred.T if n < dim else centred.T @ centred  # the same eigenvalues, besides zeros
    shares = torch.linalg.eigvalsh(gram).clamp_min(0)
    shares = shares / shares.sum()
    return math.exp(float(torch.special.entr(shares).sum()))


def nearest_is_own(first: Tensor, second: Tensor) -> float:
    """The share of images whose first crop is nearest, by cosine, to their own second crop: (n, D) each."""
    cosines = functional.normalize(first.float()) @ functional.normalize(second.float()).T
    return float((cosines.argmax(dim=1).cpu() == torch.arange(len(first))).double().mean())


def knn_of_crops(first: Tensor, second: Tensor, labels: Tensor) -> float | None:
    """k-NN accuracy of first crops among the second crops of the other images; None with too few labels.

    Args:
        first, second: (n, D).
        labels: (n,), -1 for an image without one.
    """
    known = labels >= 0
    first, second, labels = first[known], second[known], labels[known]
    if len(labels) <= NEIGHBOURS or len(torch.unique(labels)) < 2:
        return None
    cosines = functional.normalize(first.float()) @ functional.normalize(second.float()).T
    nearest = labels[cosines.cpu().fill_diagonal_(-math.inf).topk(NEIGHBOURS).indices]
    votes = functional.one_hot(nearest, int(labels.max()) + 1).sum(dim=1)
    return float((votes.argmax(dim=1) == labels).double().mean())


def loss_share(loss: float, n_clusters: Sequence[int]) -> float:
    """The loss as a share of what guessing costs: the mean of ln K over the labelings."""
    chance = sum(math.log(k) for k in n_clusters) / len(n_clusters)
    return loss / chance if chance > 0 else 0.0


def collapse(now: Mapping[str, float], untrained: Mapping[str, float] | None, *, k: int) -> str | None:
    """The sentence with which a run stops whose features have become alike; None otherwise.

    Two clusters need one direction only, and images that are alike from the start are no collapse. One large direction
    may hide others by which a network still learns (SeLa's first epochs), so the loss must stay at chance too.
    """
    before = None if untrained is None else untrained.get("effective_rank")
    rank = now.get("effective_rank")
    if k <= 2 or rank is None or before is None or rank >= RANK_ONE or before < 2 * RANK_ONE:
        return None
    if rank > 0 and not _guesses(now, k):
        return None
    said = "are the same for all images" if rank == 0 else "differ along one direction only"
    return (
        f"the network has collapsed: its features {said} (effective rank {rank:.2f}, {before:.1f} untrained); start "
        "again with a smaller optimizer.lr, other K or view=strong"
    )


def one_cluster(largest: float, *, k: int, was_whole: bool) -> str | None:
    """The sentence with which a run stops whose clusters have become one; None otherwise.

    Args:
        largest: share of the images in the largest cluster.
        was_whole: the first clusters were not like this, so that training has done it and not the images.
    """
    if k <= 2 or not was_whole or largest < ONE_CLUSTER:
        return None
    return (
        f"the clusters have collapsed: one of {k:,} holds {largest:.0%} of the images; start again with a smaller "
        "optimizer.lr, sampler=uniform, or other K"
    )


def advice(
    now: Mapping[str, float], untrained: Mapping[str, float] | None, *, n_images: int, n_steps: int, k: int
) -> dict[str, str]:
    """A sentence for each thing that looks wrong, by its kind.

    Args:
        now: name -> number; what could not be measured is absent.
        untrained: the same of the network before its first step; None: unknown.
        n_images: how many were looked at.
        n_steps: trained ones.
        k: clusters.
    """
    said, before = {}, untrained or {}
    if n_steps >= FEWEST_STEPS and _guesses(now, k):
        said["loss"] = (
            f"the loss stays at {now['loss_share']:.2f} of ln K, which is guessing: nothing is being learned; lower "
            "optimizer.lr or K, or train longer epochs (reassign.epochs)"
        )
    largest, dead = now.get("largest_share", 0.0), now.get("dead_share", 0.0)
    if k >= 10 and largest >= GIANT:
        said["giant"] = (
            f"one of {k:,} clusters holds {largest:.0%} of the images; try other K, sampler=uniform, or a smaller "
            "optimizer.lr"
        )
    if dead >= DEAD:
        said["dead"] = f"{dead:.0%} of the clusters found no image of their own; lower clustering.k"
    if n_steps < FEWEST_STEPS:
        return said
    if now.get("prototypes_used", 1.0) < UNUSED:
        said["prototypes"] = (
            f"only {now['prototypes_used']:.0%} of the prototypes are the nearest of any crop; lower clustering.k or "
            "targets.epsilon"
        )
    if k >= 10 and now.get("effective_rank", LOW_RANK) < LOW_RANK <= before.get("effective_rank", 0.0) / 2:
        said["rank"] = (
            f"features lie along few directions: effective rank {now['effective_rank']:.1f}, "
            f"{before['effective_rank']:.1f} for the untrained network; try a smaller optimizer.lr, or larger K"
        )
    if n_images < FEWEST_IMAGES:
        return said
    for name, what in (("two_crop_agreement", "share a cluster"), ("two_crop_nearest", "are nearest to each other")):
        if name in now and name in before and before[name] < NEARLY_ALL and not _above(now, before, name, n_images):
            said["agreement"] = (
                f"two crops of a picture {what} in {now[name]:.0%} of cases, {before[name]:.0%} for the untrained "
                "network: it has not learned what they have in common; try another optimizer.lr, K, or view=strong"
            )
    if "knn_accuracy" in now and "knn_accuracy" in before and _above(before, now, "knn_accuracy", n_images):
        said["knn"] = (
            f"k-NN accuracy on crops is {now['knn_accuracy']:.0%}, {before['knn_accuracy']:.0%} for the untrained "
            "network: training makes features worse; try a smaller optimizer.lr, or larger K"
        )
    return said


def _guesses(now: Mapping[str, float], k: int) -> bool:
    """Whether the head does no better than chance."""
    return now.get("loss_share", 0.0) >= AT_CHANCE and now.get("accuracy", 1.0) < 2 / k


def _above(one: Mapping[str, float], other: Mapping[str, float], name: str, n_images: int) -> bool:
    """Whether a share of n images is larger than another by more than chance explains."""
    mean = (one[name] + other[name]) / 2
    return one[name] - other[name] > STANDARD_ERRORS * math.sqrt(2 * mean * (1 - mean) / n_images)
