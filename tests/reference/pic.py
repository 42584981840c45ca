"""Plain twin of power iteration clustering: the steps of the 2018 code as loops over images and their edges.

The numbers are of a type that the caller chooses: `Decimal` gives what the mathematics says, to 90 digits;
`np.float64` what the 2018 code computed, as before NumPy 2 its np.vectorize made the graph's weights float64, and they
all that follows.
"""

import decimal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

decimal.getcontext().prec = 120
DIGITS = Decimal("1e-90")  # of v: equal values that were added up in another order are equal again

Graph = list[dict[int, Any]]  # of each image: neighbour -> weight, in the order of the neighbours


def exact(x: float) -> Decimal:
    return Decimal(float(x))


def neighbours(features: NDArray[Any], n: int, *, drop_first: bool = False) -> list[list[tuple[int, float]]]:
    """Of each image: the n nearest others and their squared distances; equally near ones by number."""
    found = []
    for i, x in enumerate(features.astype(np.float64)):
        distances = [(float(((x - y) ** 2).sum()), j) for j, y in enumerate(features.astype(np.float64))]
        nearest = [(j, d) for d, j in sorted(distances)[: n + 1]]
        if drop_first:
            del nearest[0]
        elif any(j == i for j, _ in nearest):
            nearest = [(j, d) for j, d in nearest if j != i]
        else:
            del nearest[-1]
        found.append(nearest)
    return found


def graph_of(found: list[list[tuple[int, float]]], sigma: float, number: Callable[[float], Any]) -> Graph:
    """exp(-d^2 / sigma^2) for each neighbour, plus the transpose."""
    one_way = [{j: number(np.exp(-np.float64(d) / np.float64(sigma**2))) for j, d in row} for row in found]
    both: Graph = [dict(row) for row in one_way]
    for i, row in enumerate(one_way):
        for j, w in row.items():
            both[j][i] = both[j].get(i, number(0)) + w
    return [{j: w for j, w in sorted(row.items()) if w != 0} for row in both]


def power_iteration(graph: Graph, alpha: float, n_iter: int, number: Callable[[float], Any]) -> list[Any]:
    """v <- alpha W^T v + (1 - alpha) / n, divided by its L1 norm, from 1 / n; W is symmetric."""
    n = len(graph)
    v = [number(1) / n for _ in range(n)]
    alpha_ = number(alpha)
    rest = (1 - alpha_) / n
    for _ in range(n_iter):
        following = []
        for row in graph:
            total = number(0)
            for j, w in row.items():
                total += w * v[j]
            following.append(alpha_ * total + rest)
        norm = sum(following)
        v = [value / norm for value in following]
    return [value.quantize(DIGITS) if isinstance(value, Decimal) else value for value in v]


def climb(graph: Graph, v: list[Any]) -> list[int]:
    """Each image to the neighbour j of the largest W_ij (v_j - v_i) if that is above 0; roots in order of number."""
    pointer = []
    for i, row in enumerate(graph):
        best, best_gain = i, type(v[i])(0)
        for j, w in row.items():
            gain = type(v[i])(w) * (v[j] - v[i])
            if gain > best_gain:
                best, best_gain = j, gain
        pointer.append(best)
    number_of_root = {root: k for k, root in enumerate(i for i, j in enumerate(pointer) if i == j)}
    labels = []
    for i in range(len(graph)):
        while pointer[i] != i:
            i = pointer[i]
        labels.append(number_of_root[i])
    return labels


def join_singletons(labels: list[int], found: list[list[tuple[int, float]]]) -> list[int]:
    """Every image alone takes the cluster of its first neighbour that is not; numbers without gaps."""
    alone = [labels.count(label) == 1 for label in labels]
    joined = list(labels)
    for i, row in enumerate(found):
        if alone[i]:
            for j, _ in row:
                if not alone[j]:
                    joined[i] = labels[j]
                    break
    order = sorted(set(joined))
    return [order.index(label) for label in joined]


def pic(
    features: NDArray[Any],
    *,
    n: int = 5,
    sigma: float = 0.2,
    alpha: float = 0.001,
    n_iter: int = 200,
    number: Callable[[float], Any] = exact,
    drop_first: bool = False,
    distribute: bool = True,
) -> list[int]:
    """The cluster of each image."""
    found = neighbours(features, n, drop_first=drop_first)
    graph = graph_of(found, sigma, number)
    v = power_iteration(graph, alpha, n_iter, number)
    labels = climb(graph, v)
    return join_singletons(labels, found) if distribute else labels
