"""In words: that a clustering has found nothing, because features or images are all alike."""

from deepcluster.clustering.assignment import Assignment

ONE_CLUSTER = 0.9  # share of the images from which on the other clusters are exceptions
ONE_DIRECTION = 1.02  # effective dimensions: 99 % of the variance lies along one


def tell_collapse(assignment: Assignment) -> str | None:
    """A sentence with the way out if the clusters mean nothing; None if they may mean something."""
    k, sizes = assignment.k, assignment.sizes()
    n_empty = assignment.n_repaired + assignment.n_squeezed + assignment.n_unused
    share = sizes.max().item() / max(1, int(sizes.sum()))
    dimensions = None if assignment.reduction is None else assignment.reduction.effective_dim
    if dimensions == 0:
        return (
            "all images have the same features, so clusters are chance; look whether the images are alike, or the "
            "network's weights are dead (a smaller optimizer.lr, other init)"
        )
    if n_empty >= (k + assignment.n_squeezed) / 2:
        return (
            f"{n_empty:,} of {k + assignment.n_squeezed:,} clusters found no image of their own: there are fewer "
            "different features than clusters; lower clustering.k, or look whether most images are alike"
        )
    if k > 2 and share >= ONE_CLUSTER:
        return (
            f"one cluster holds {share:.0%} of the images: the features have collapsed, or most images are alike; try "
            "a smaller optimizer.lr, sampler=uniform, other K, or an earlier checkpoint"
        )
    if dimensions is not None and dimensions < ONE_DIRECTION:
        return (
            f"features differ along one direction only ({dimensions:.2f} effective dimensions): they have collapsed, "
            "and clusters tell little more than brightness; try a smaller optimizer.lr, or view=strong"
        )
    return None
