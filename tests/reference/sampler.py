"""Plain twin of the 2018 sampler, written anew from REFERENCE 1.7: loops, lists and numpy."""

import numpy as np


def quota_draw(labels: list[int], k: int, n: int, rng: np.random.Generator) -> list[int]:
    """int(n / clusters) + 1 members of every cluster, small clusters with replacement; shuffled, cut to n."""
    members = [[i for i, label in enumerate(labels) if label == cluster] for cluster in range(k)]
    members = [cluster for cluster in members if cluster]
    quota = int(n / len(members)) + 1
    drawn: list[int] = []
    for cluster in members:
        drawn += rng.choice(cluster, quota, replace=len(cluster) <= quota).tolist()
    rng.shuffle(drawn)
    return drawn[:n]


def official_draw(labels: list[int], k: int, n: int, rng: np.random.Generator) -> list[int]:
    """What the released code shows: the drawn numbers, used on the list that is in cluster order."""
    in_cluster_order = [i for cluster in range(k) for i, label in enumerate(labels) if label == cluster]
    return [in_cluster_order[i] for i in quota_draw(labels, k, n, rng)]
