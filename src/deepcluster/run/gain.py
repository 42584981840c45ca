"""What training added, in one sentence, against the best of what needs no training. For summary.py."""

from collections.abc import Collection, Mapping

CHEAP = ("pixels", "patches")
STARTS = ("pretrained", "untrained")
# What is compared, with labels and without; the sentence tells the first. Of rows as they are and whitened each column
# has the better figure.
MEASURES = (
    (
        (("knn_accuracy", "knn_whitened_accuracy"), "k-NN accuracy"),
        (("linear_probe_accuracy",), "linear-probe accuracy"),
        (("nmi_classes",), "NMI with the labels"),
    ),
    ((("crops_nearest", "crops_nearest_whitened"), "two-crop accuracy"),),
)

Figures = Mapping[str, float | None]


def gain_sentence(figures: Mapping[str, Figures], *, is_start: bool = False) -> str | None:
    """The sentence under the table of a run; None if the trained network was not measured.

    Args:
        figures: of "trained" (of a run of no epochs only of its start), and of the others that were measured.
        is_start: the run ends with the network as it started (run/better.py), so that one is compared with the best.

    >>> gain_sentence({"untrained": {"knn_accuracy": 0.8}, "trained": {"knn_accuracy": 0.821}})
    'training added 2.1 points of k-NN accuracy to the untrained network'
    """
    for (all_names, words), *_ in MEASURES:
        names = _shared(figures.values(), all_names)
        values = {who: value for who, numbers in figures.items() if (value := _best(numbers, names)) is not None}
        who = next(who for who in ("trained", *STARTS, None) if who in (*figures, None))
        if who in values:
            kept = next(start for start in STARTS if start in values) if is_start else who
            end = f", so the run ends with the {kept} network: clusters and files are its" if is_start else ""
            but = _but_others(figures)
            return _by_training(values, words) + but + end + _against_the_best(values, values[kept])
    return None


def start_is_better(start: Figures, trained: Figures) -> bool:
    """Whether training has made the network worse, by most of k-NN, linear probe and clusters of as many as classes;
    without labels by two-crop accuracy. False if nothing tells, or as many say so as do not.

    One alone is too easily luck: of 159 test images two more make a point. Where the better of the rows as they are and
    whitened is as good as before, the other decides.
    """
    return sum(_changes(start, trained).values()) < 0


def _changes(start: Figures, trained: Figures) -> dict[str, int]:
    """What is compared -> 1 if training made it better, -1 if worse, 0; in the order of `MEASURES`."""
    for measures in MEASURES:
        shared = {words: _shared((start, trained), names) for names, words in measures}
        found = {words: (_ranked(start, names), _ranked(trained, names)) for words, names in shared.items()}
        changes = {words: (now > before) - (now < before) for words, (before, now) in found.items() if before and now}
        if changes:
            return changes
    return {}


def _but_others(figures: Mapping[str, Figures]) -> str:
    """Which figures went the other way, or changed at all, where the first alone would mislead."""
    start = next((figures[who] for who in STARTS if who in figures), {})
    (_, first), *others = _changes(start, figures.get("trained", {})).items() or [("", 0)]
    total = first + sum(change for _, change in others)
    direction = -first or (total > 0) - (total < 0)
    if not direction or first * total > 0:
        return ""
    told = [words for words, change in others if change == direction]
    return f", but {' and '.join(told)} {'rose' if direction > 0 else 'fell'}"


def _shared(columns: Collection[Figures], names: tuple[str, ...]) -> tuple[str, ...]:
    """The figures that each column has that has any of them: a resumed run's start may have been measured without."""
    measured = [numbers for numbers in columns if _ranked(numbers, names)]
    return tuple(name for name in names if all(numbers.get(name) is not None for numbers in measured))


def _ranked(numbers: Figures, names: tuple[str, ...]) -> list[float]:
    return sorted((value for name in names if (value := numbers.get(name)) is not None), reverse=True)


def _best(numbers: Figures, names: tuple[str, ...]) -> float | None:
    return max(_ranked(numbers, names), default=None)


def _by_training(values: Mapping[str, float], words: str) -> str:
    start, trained = next((who for who in STARTS if who in values), None), values.get("trained")
    if trained is None:
        return f"the {start} network reaches {values[str(start)]:.1%} {words}"
    if start is None:
        return f"the network reaches {trained:.1%} {words}"
    points = round(100 * (trained - values[start]), 1)
    if points > 0:
        return f"training added {points} points of {words} to the {start} network"
    if points < 0:
        return f"training took {-points} points of {words} from the {start} network"
    return f"training left the {start} network's {words} as it was"


def _against_the_best(values: Mapping[str, float], reached_by_network: float) -> str:
    cheap = {who: values[who] for who in CHEAP if who in values}
    if not cheap:
        return ""
    best = max(cheap, key=lambda who: cheap[who])
    points = round(100 * (cheap[best] - reached_by_network), 1)
    reached = f"{points} more" if points > 0 else f"{-points} less" if points < 0 else "as much"
    return f"; {best}, which need no training, reach {reached}"
