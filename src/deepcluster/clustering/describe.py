"""An assignment in numbers, for the log. Next: metrics.py computes them."""

from torch import Tensor

from deepcluster.clustering import metrics
from deepcluster.clustering.assignment import Assignment


def describe(
    assignment: Assignment, previous: Assignment | None, labels: Tensor | None, nmi_average: str = "arithmetic"
) -> dict[str, float]:
    """Sizes of the clusters, how they differ from the previous assignment's, and how they fit true labels.

    Images without a pseudo-label, now or in the previous assignment, are left out.

    Args:
        previous: the last assignment of the same images; None at the first one.
        labels: true labels (N,), -1 where unknown; None without labels.
        nmi_average: see :func:`metrics.nmi`.

    Returns:
        Numbers by name. `nmi_previous` and `moved_share` are there only with a previous assignment, and
        :func:`metrics.label_metrics` only with labels.
    """
    numbers: dict[str, float] = {
        "objective": assignment.objective,
        "k": assignment.k,
        "n_repaired": assignment.n_repaired,
        "n_squeezed": assignment.n_squeezed,
        "n_merged": assignment.n_merged,
        **metrics.size_statistics(assignment.labels[assignment.labels >= 0], assignment.k),
    }
    if assignment.reduction is not None:
        numbers["explained_variance"] = assignment.reduction.explained_variance
    if previous is not None:
        both = (assignment.labels >= 0) & (previous.labels >= 0)
        if bool(both.any()):
            numbers["nmi_previous"] = metrics.nmi(assignment.labels[both], previous.labels[both], nmi_average)
            numbers["moved_share"] = metrics.moved_share(previous.labels[both], assignment.labels[both])
    if labels is not None:
        numbers |= metrics.label_metrics(assignment.labels, labels, nmi_average)
    return {name: float(value) for name, value in numbers.items()}


def describe_draw(assignment: Assignment, indices: Tensor) -> dict[str, float]:
    """How evenly the next epoch draws the clusters, which sampler.kind decides; images without a label do not count.

    Args:
        indices: (n,) the images that the epoch draws.
    """
    labels = assignment.labels[indices]
    drawn = metrics.size_statistics(labels[labels >= 0], assignment.k)
    return {f"drawn_{name}": float(drawn[name]) for name in ("perplexity", "largest_share")}
