"""Sinkhorn-Knopp: scores -> the plan that gives each row mass 1 and each cluster the same mass (Cuturi 2013).

SwAV takes the plan of a batch as soft targets (Caron et al. 2020); SeLa takes the plan's largest entry of every image
as its label (Asano et al. 2020, sinkhorn_fit.py); k-means may do so in its last assignment (kmeans_balanced.py).
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from deepcluster.clustering.ranks import Ranks


@torch.no_grad()
def sinkhorn_knopp(scores: Tensor, *, epsilon: float, n_iter: int, ranks: Ranks | None = None) -> Tensor:
    """The plan (n, K), float32: rows sum to 1, and with enough iterations the columns to N / K each.

    The largest <plan, scores> + epsilon * entropy(plan) under these sums. It is computed in logarithms, so no epsilon
    over- or underflows.

    Args:
        scores: (n, K), larger is better: cosines to prototypes (SwAV), log-probabilities (SeLa).
        epsilon: how soft the plan is: 0.05 in SwAV; 1 / lambda = 0.04 in SeLa.
        n_iter: iterations: columns, then rows; 3 in SwAV.
        ranks: with several processes, each of which calls this with its own n of N rows: what they offer.
    """
    scores = scores.float()
    potentials = column_potentials(
        lambda: [scores], scores.shape[1], scores.device, epsilon=epsilon, n_iter=n_iter, ranks=ranks or Ranks()
    )
    return torch.softmax((scores + potentials) / epsilon, dim=1)


@torch.no_grad()
def annealed_potentials(
    blocks: Callable[[], Iterable[Tensor]],
    k: int,
    device: torch.device,
    *,
    epsilon: float,
    n_halvings: int,
    n_iter: int,
    tolerance: float,
    ranks: Ranks,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """:func:`column_potentials` for a hard plan, from a soft one whose epsilon is halved until it is the given one.

    Each begins where the last one ended, which takes a tenth of the iterations of a hard plan from the start. A
    constant added to a row of the scores changes nothing.

    Args:
        n_halvings: the first epsilon is 2^n_halvings times the last.
        n_iter: the most iterations for each epsilon.
        progress: called with the iterations done, (n_halvings + 1) n_iter in all, those that were not needed too.
    """
    potentials, n_reported = torch.zeros(k, device=device), 0

    def advance(done: int) -> None:
        nonlocal n_reported
        for number in range(n_reported + 1, done + 1):
            if progress is not None:
                progress(number)
        n_reported = max(n_reported, done)

    for step in range(n_halvings + 1):
        potentials = column_potentials(
            blocks,
            k,
            device,
            epsilon=epsilon * 2 ** (n_halvings - step),
            n_iter=n_iter,
            tolerance=tolerance,
            start=potentials,
            ranks=ranks,
            progress=lambda done: advance(step * n_iter + done),  # noqa: B023  # called in this step only
        )
        advance((step + 1) * n_iter)
    return potentials


@torch.no_grad()
def column_potentials(
    blocks: Callable[[], Iterable[Tensor]],
    k: int,
    device: torch.device,
    *,
    epsilon: float,
    n_iter: int,
    tolerance: float = 0.0,
    start: Tensor | None = None,
    ranks: Ranks,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """What to add to each column of the scores (K,), so that softmax(scores / epsilon) over rows is the plan.

    Args:
        blocks: gives this process's scores in blocks (B, K) float32, anew in each iteration.
        k: number of clusters K.
        device: of the blocks.
        tolerance: stop before n_iter if the clusters' masses differ from N / K by this share of it on average.
        start: potentials (K,) to go on from; None: the first iteration sums exp(scores / epsilon) itself.
        ranks: what the processes offer; all get the same potentials.
        progress: called with the iterations done after each.
    """
    potentials = torch.zeros(k, device=device) if start is None else start
    for iteration in range(n_iter):
        is_plan = iteration > 0 or start is not None
        mass = _log_mass(blocks, potentials, epsilon, is_plan=is_plan, ranks=ranks)
        mean = torch.logsumexp(mass, dim=0) - math.log(k)
        if is_plan and tolerance > 0 and float(((mass - mean).exp() - 1).abs().mean()) <= tolerance:
            break
        potentials = potentials + epsilon * (mean - mass)
        if progress is not None:
            progress(iteration + 1)
    return potentials


def _log_mass(
    blocks: Callable[[], Iterable[Tensor]], potentials: Tensor, epsilon: float, *, is_plan: bool, ranks: Ranks
) -> Tensor:
    """Logarithm of each column's sum (K,) over the rows of all processes.

    Args:
        is_plan: sum rows that are normalised; else exp(scores / epsilon) as they are.
    """
    lines = torch.zeros(ranks.size, len(potentials), device=potentials.device)
    mine = torch.full_like(potentials, -torch.inf)
    for block in blocks():
        logits = (block + potentials) / epsilon
        mine = torch.logaddexp(mine, torch.logsumexp(logits.log_softmax(dim=1) if is_plan else logits, dim=0))
    lines[ranks.rank] = mine  # zeros in the lines of the others, so that the sum is the whole table
    return torch.logsumexp(ranks.sum([lines])[0], dim=0)
