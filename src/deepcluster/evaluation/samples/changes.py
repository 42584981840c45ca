"""What new pictures changed in a run's clusters: groups new, grown or shrunk, pictures that fit nowhere or are gone."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.system.tables import write_csv

CHANGES = "changes.csv"  # in a run's folder
COLUMNS = ("kind", "cluster", "name", "before", "now", "new", "sample")
CONTINUES = 0.5  # share of a cluster's old pictures, of those still there, that make the one of its number the same
TOLD = 5  # groups that are named in a line; the file lists all


@dataclass(kw_only=True)
class Group:
    """A cluster: how many pictures it held before and holds now, and how many of these are new."""

    cluster: int
    before: int
    now: int
    new: int


@dataclass(kw_only=True)
class Changes:
    """What changed.

    Args:
        n_new: pictures that were not there before.
        new_groups: clusters that continue none, the largest first.
        grown: clusters that continue one and hold more pictures than it did, those that grew most first.
        shrunk: clusters that continue one and hold fewer, those that lost most first.
        nowhere: new pictures that fit into no cluster, with the nearest one's number; None: not known.
        gone: pictures that are no longer there, and the clusters that they were in.
        names: cluster -> name, now.
    """

    n_new: int
    new_groups: list[Group]
    grown: list[Group]
    shrunk: list[Group]
    nowhere: list[tuple[str, int]] | None
    gone: list[tuple[str, int]]
    names: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write changes.csv: a line for each group, then for each picture."""
        write_csv(path, COLUMNS, self._rows())

    def _rows(self) -> Iterator[list[object]]:
        for kind, groups in (("new group", self.new_groups), ("grew", self.grown), ("shrank", self.shrunk)):
            for group in groups:
                name = self.names.get(str(group.cluster), "")
                yield [kind, group.cluster, name, group.before, group.now, group.new, None]
        for kind, pictures in (("fits nowhere", self.nowhere or []), ("gone", self.gone)):
            for sample, cluster in pictures:
                yield [kind, cluster, self.names.get(str(cluster), ""), None, None, None, sample]

    def lines(self) -> list[str]:
        """What is printed."""
        told = [_counted(self.n_new, "new picture")]
        if self.gone:
            told.append(f"{len(self.gone):,} gone")
        if self.nowhere is not None:
            told.append(f"{len(self.nowhere):,} of the new fit nowhere")
        told.append(f"{_counted(len(self.grown), 'group')} grew")
        if self.shrunk:
            told.append(f"{len(self.shrunk):,} shrank")
        if self.new_groups:
            told.append(_counted(len(self.new_groups), "new group"))
        lines = [", ".join(told)]
        if self.new_groups:
            named = (f"{self._called(group)} with {_counted(group.now, 'picture')}" for group in self.new_groups[:TOLD])
            lines.append(f"new: {', '.join(named)}{_more(self.new_groups)}")
        if self.grown:
            named = (f"{self._called(group)} {group.before:,} -> {group.now:,}" for group in self.grown[:TOLD])
            lines.append(f"grew most: {', '.join(named)}{_more(self.grown)}")
        return lines

    def numbers(self) -> dict[str, float]:
        """For results.json and summary.json."""
        nowhere = {} if self.nowhere is None else {"fit_nowhere": len(self.nowhere)}
        return {"new_pictures": self.n_new, **nowhere, "groups_grown": len(self.grown)}

    def _called(self, group: Group) -> str:
        name = self.names.get(str(group.cluster))
        return f"cluster {group.cluster}" if not name else f"{name} ({group.cluster})"


def compare(
    before: Mapping[str, int],
    samples: Sequence[str],
    clusters: Sequence[int],
    *,
    fits: Sequence[bool] | None,
    names: Mapping[str, str],
) -> Changes:
    """What changed between two clusterings whose clusters continue each other by number.

    Args:
        before: picture -> cluster.
        samples: the pictures now.
        clusters: theirs; -1: none.
        fits: whether each is as near to its cluster as is usual; None: not known.
        names: cluster -> name, now.
    """
    old = [before.get(sample) for sample in samples]
    new = [i for i, cluster in enumerate(old) if cluster is None]
    sizes_before, sizes = Counter(before.values()), Counter(clusters)
    n_new = Counter(clusters[i] for i in new)
    n_left = Counter(cluster for cluster in old if cluster is not None)  # of each old cluster, still there
    n_stayed = Counter(now for cluster, now in zip(old, clusters, strict=True) if cluster == now)
    groups = [
        Group(cluster=cluster, before=sizes_before[cluster], now=sizes[cluster], new=n_new[cluster])
        for cluster in sorted(sizes)
        if cluster >= 0
    ]
    continues = {
        group.cluster
        for group in groups
        if n_left[group.cluster] and n_stayed[group.cluster] >= CONTINUES * n_left[group.cluster]
    }
    going_on = [group for group in groups if group.cluster in continues]
    there = set(samples)
    return Changes(
        n_new=len(new),
        new_groups=sorted((g for g in groups if g.cluster not in continues), key=lambda group: -group.now),
        grown=sorted((g for g in going_on if g.now > g.before), key=lambda group: group.before - group.now),
        shrunk=sorted((g for g in going_on if g.now < g.before), key=lambda group: group.now - group.before),
        nowhere=None if fits is None else [(samples[i], clusters[i]) for i in new if not fits[i]],
        gone=[(sample, cluster) for sample, cluster in before.items() if sample not in there],
        names=names,
    )


def changes_by(
    samples: Sequence[str], clusters: Tensor, *, fits: Tensor | None, sizes: Tensor, names: Mapping[str, str]
) -> Changes:
    """What new pictures change in clusters that stay as they are.

    Args:
        samples: the n new pictures.
        clusters: (n,) theirs.
        fits: (n,) bool, whether each is as near to its cluster as is usual; None: not known.
        sizes: (K,) of the clusters without them.
        names: cluster -> name.
    """
    n_new = torch.bincount(clusters, minlength=len(sizes))
    grown = [
        Group(
            cluster=cluster,
            before=int(sizes[cluster]),
            now=int(sizes[cluster] + n_new[cluster]),
            new=int(n_new[cluster]),
        )
        for cluster in torch.argsort(n_new, descending=True, stable=True).tolist()
        if n_new[cluster]
    ]
    nowhere = None
    if fits is not None:
        nowhere = [(samples[i], int(clusters[i])) for i in torch.nonzero(~fits).flatten().tolist()]
    return Changes(n_new=len(samples), new_groups=[], grown=grown, shrunk=[], nowhere=nowhere, gone=[], names=names)


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _more(groups: Sequence[Group]) -> str:
    return f", ... {len(groups) - TOLD:,} more" if len(groups) > TOLD else ""
