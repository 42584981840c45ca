"""Descriptors -> rankings, with query expansion and database augmentation. Next: scores.py."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

MAX_SIMILARITIES = 2**25  # held at a time: 128 MB in float32


def rank(queries: Tensor, database: Tensor) -> Tensor:
    """Indices (Q, N) of the database for each query, most similar (by dot product) first; ties in database order."""
    return (queries @ database.T).sort(dim=1, descending=True, stable=True).indices


def expand_queries(queries: Tensor, database: Tensor, n: int) -> Tensor:
    """Average query expansion: the mean of each query (Q, P) and its n best answers, normalised to length 1.

    Chum et al. 2007, "Total recall", without their geometric verification. With n = 0 the queries stay unchanged.
    """
    if n == 0:
        return queries
    best = rank(queries, database)[:, :n]
    return normalize(queries + database[best].sum(1), dim=1)


def augment_database(database: Tensor, n: int) -> Tensor:
    """Database-side augmentation: the mean of each descriptor (N, P) and its n nearest others, of length 1.

    Turcot and Lowe 2009; Arandjelovic and Zisserman 2012. With n = 0 nothing changes.
    """
    n = min(n, len(database) - 1)
    if n == 0:
        return database
    rows = max(1, MAX_SIMILARITIES // len(database))
    augmented = []
    for start in range(0, len(database), rows):
        part = database[start : start + rows]
        similarities = part @ database.T
        similarities[torch.arange(len(part)), torch.arange(start, start + len(part))] = -torch.inf  # not itself
        best = similarities.topk(n, dim=1).indices
        augmented.append(normalize(part + database[best].sum(1), dim=1))
    return torch.cat(augmented)
