"""An assignment in numbers: sizes, how it differs from the one before, how it fits labels, how evenly it is drawn."""

from torch import Tensor

from deepcluster.clustering import metrics
from deepcluster.clustering.assignment import Assignment


def describe(
    assignment: Assignment, previous: Assignment | None, labels: Tensor | None, nmi_average: str = "arithmetic"
) -> dict[str, float]:
    """What is logged of an assignment: its sizes, how it differs from the one before, how it fits true labels.

    Returns:
        Plain numbers by name; `nmi_previous` and `moved_share` only with a previous assignment, those against
        labels only with labels.
    """
    numbers: dict[str, float] = {
        "objective": assignment.objective,
        "k": assignment.k,
        "n_repaired": assignment.n_repaired,
        "n_squeezed": assignment.n_squeezed,
        "n_merged": assignment.n_merged,
        **metrics.size_statistics(assignment.labels, assignment.k),
    }
    if assignment.reduction is not None:
        numbers["explained_variance"] = assignment.reduction.explained_variance
    if previous is not None:
        numbers["nmi_previous"] = metrics.nmi(assignment.labels, previous.labels, nmi_average)
        numbers["moved_share"] = metrics.moved_share(previous.labels, assignment.labels)
    if labels is not None:
        numbers |= metrics.label_metrics(assignment.labels, labels, nmi_average)
    return {name: float(value) for name, value in numbers.items()}


def describe_draw(assignment: Assignment, indices: Tensor) -> dict[str, float]:
    """How evenly the epoch that follows draws the clusters: what sampler.kind is about.

    Args:
        indices: (n,) the images that the epoch draws.
    """
    drawn = metrics.size_statistics(assignment.labels[indices], assignment.k)
    return {f"drawn_{name}": float(drawn[name]) for name in ("perplexity", "largest_share")}
