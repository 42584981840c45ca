"""New kinds of pictures get clusters of their own: a run that follows another has more where new pictures lie together.

They are looked for once, by the network of the run before, and kept in a file, so that a resumed run and all
processes know the same. How: clustering/new_groups.py. train.py calls this.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.chosen_k import GROUPS_FILE, ChosenK
from deepcluster.clustering.new_groups import new_groups
from deepcluster.data.images import evenly_spaced
from deepcluster.evaluation.samples.places import find_places
from deepcluster.run.first_process import found_by_first
from deepcluster.run.follow import Before
from deepcluster.run.parts import Parts
from deepcluster.settings.train import TrainConfig
from deepcluster.system.seeding import mix
from deepcluster.training.processes import TIMEOUT_KEY, TIMEOUT_MINUTES

MOST = 50_000  # images that are looked at


def with_new_groups(
    config: TrainConfig, parts: Parts, folder: Path, before: Before
) -> tuple[TrainConfig, Parts, Before]:
    """Settings, parts and the run before, with a cluster for each group of new pictures that lie together.

    All as they are where there is none, with new_groups=false, where clustering.k was typed, and for a clustering that
    finds K itself. The numbers of the old clusters stay, the new ones follow.
    """
    clustering = config.clustering
    if not config.new_groups or not isinstance(clustering, ChosenK):
        return config, parts, before
    grows = clustering.ks == [assignment.k for assignment in before.assignments]
    if not grows and config.resume is None:
        return config, parts, before
    if config.resume is not None and not (folder / GROUPS_FILE).is_file():  # the network is another by now
        return config, parts, before
    groups: list[list[int]] = found_by_first(
        folder / GROUPS_FILE,
        [config.follows, config.seed, list(parts.images.samples)],
        lambda: {"groups": _look(config, parts, before)},
        minutes=config.trainer.get(TIMEOUT_KEY, TIMEOUT_MINUTES),
        setting="new_groups=true",
        instead="new_groups=false",
    )["groups"]
    if not groups:
        return config, parts, before
    before = replace(before, assignments=[_with_groups(assignment, groups) for assignment in before.assignments])
    ks = [assignment.k for assignment in before.assignments]
    n, were = sum(map(len, groups)), before.k
    parts.progress.say(
        f"new groups {n:,} of the new images lie among each other, not among the old ones: K grows from {were} to "
        f"{were + len(groups)}; new_groups=false keeps it"
    )
    if not grows:  # a resumed run: its settings have the new K
        return config, parts, before
    grown = replace(clustering, k=ks if isinstance(clustering.k, list | tuple) else ks[0])
    return replace(config, clustering=grown), parts.with_clustering(grown), before


def _look(config: TrainConfig, parts: Parts, before: Before) -> list[list[int]]:
    """The numbers of the images of each new group."""
    first, is_new = before.assignments[0], before.numbers < 0
    chosen = _chosen(is_new)
    if not bool(is_new.any()):
        return []
    rows = torch.empty(len(chosen), first.centroids.shape[1])
    source = parts.clusterer.feature_pass(parts.backbone, device=parts.device)
    with parts.progress.bar("new pictures among the old", len(chosen), "img") as advance:
        find_places(source, first, labels=None, advance=advance, among=chosen, rows_to=rows)
    sizes = [size for size in first.sizes().tolist() if size]
    groups = new_groups(rows, is_new[chosen], sizes, seed=mix(config.seed, "new groups"))
    return [chosen[groups == number].tolist() for number in range(int(groups.max()) + 1)]


def _chosen(is_new: Tensor) -> Tensor:
    """The numbers of the images that are looked at, in order: of too many as many of the old and of the new as fit."""
    parts = [torch.nonzero(which).flatten() for which in (is_new, ~is_new)]
    share = min(1.0, MOST / len(is_new))
    return torch.cat([part[evenly_spaced(len(part), round(share * len(part)))] for part in parts]).sort().values


def _with_groups(assignment: Assignment, groups: list[list[int]]) -> Assignment:
    """With a cluster more for each group of images; its centroid is not used, as each clustering takes their mean."""
    labels = assignment.labels.clone()
    for number, images in enumerate(groups):
        labels[images] = assignment.k + number
    k = assignment.k + len(groups)
    centroids = torch.cat([assignment.centroids, assignment.centroids.mean(dim=0).expand(len(groups), -1)])
    return replace(assignment, labels=labels, k=k, centroids=centroids)
