"""Few rows in which every two options of different groups meet: the greedy all-pairs method."""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence

Pair = frozenset[str]


def covering_rows(
    groups: Mapping[str, Sequence[str]],
    *,
    excluded: Callable[[str, str], bool] = lambda a, b: False,
    apart: Collection[str] = (),
    indifferent: Collection[tuple[str, str]] = (),
) -> list[tuple[str, ...]]:
    """Rows of one option from each group, in which every allowed pair is there at least once.

    Args:
        groups: name -> its options; no two groups share one.
        excluded: whether two options cannot stand in one row; asked both ways round.
        apart: groups of whose options each is to be there once, with whatever.
        indifferent: groups of which the one is nothing to the other, so that their options need not meet.

    Raises:
        ValueError: if an option cannot be in any row.
    """
    options = [(option,) for option in itertools.chain.from_iterable(groups.values())]
    together = [name for name in groups if name not in apart]
    meeting = [
        (groups[a], groups[b])
        for a, b in itertools.combinations(together, 2)
        if (a, b) not in indifferent and (b, a) not in indifferent
    ]
    pairs = [pair for a, b in meeting for pair in itertools.product(a, b)]
    open_pairs: dict[Pair, tuple[str, ...]] = {frozenset(seed): seed for seed in [*pairs, *options]}

    def fits(option: str, row: Collection[str]) -> bool:
        return not any(excluded(option, other) or excluded(other, option) for other in row)

    for a, b in pairs:
        if not fits(a, [b]):
            del open_pairs[frozenset((a, b))]
    rows = []
    while open_pairs:
        row = list(next(iter(open_pairs.values())))
        for names in sorted(groups.values(), key=len):  # those with few options first: they have the least choice
            if not any(option in names for option in row):
                able = [option for option in names if fits(option, row)]
                if not able:
                    raise ValueError(f"none of {', '.join(names)} fits {' '.join(row)}")
                row.append(max(able, key=lambda new: sum(frozenset((new, old)) in open_pairs for old in (*row, new))))
        for seed in [*itertools.combinations(row, 2), *((option,) for option in row)]:
            open_pairs.pop(frozenset(seed), None)
        rows.append(tuple(row))
    return rows
