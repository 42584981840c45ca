"""The schedule's decisions, worked out by hand."""

import pytest

from deepcluster.training.schedule import Schedule


def decisions(schedule: Schedule, n_epochs: int, nmi: list[float] | None = None) -> list[bool]:
    """What the schedule says in each epoch when each reassignment gives the next NMI of the list (else 0.5)."""
    values, history, said = iter(nmi or []), [], []
    for epoch in range(n_epochs):
        said.append(schedule.due(epoch, history))
        if said[-1]:
            history.append(next(values, 0.5))
    return said


def test_default_reassigns_at_every_epoch() -> None:
    assert decisions(Schedule(), 4) == [True, True, True, True]


def test_every_third_epoch() -> None:
    assert decisions(Schedule(every=3), 7) == [True, False, False, True, False, False, True]


def test_once_clusters_only_the_untrained_network() -> None:
    assert decisions(Schedule(halt_after=1), 4) == [True, False, False, False]


def test_halts_after_so_many_reassignments_and_not_epochs() -> None:
    assert decisions(Schedule(every=2, halt_after=2), 7) == [True, False, True, False, False, False, False]


def test_stops_only_when_stable_for_as_long_as_asked() -> None:
    schedule = Schedule(stable_nmi=0.9, stable_patience=2)
    assert decisions(schedule, 6, [0.95, 0.95, 0.5, 0.92, 0.91]) == [True, True, True, True, True, False]


def test_agreement_with_the_untrained_network_is_not_stability() -> None:
    assert Schedule(stable_nmi=0.9, stable_patience=1).due(1, [0.99])


def test_epoch_length_follows_the_fraction() -> None:
    assert [Schedule(epochs=e).images_per_epoch(5000) for e in (0.5, 1.0, 3.0)] == [2500, 5000, 15000]


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        ({"epochs": 0.0}, "reassign.epochs"),
        ({"epochs": float("nan")}, "reassign.epochs"),
        ({"every": 0}, "reassign.every"),
        ({"halt_after": 0}, "reassign.halt_after"),
        ({"stable_nmi": 1.5}, "reassign.stable_nmi"),
        ({"stable_patience": 0}, "reassign.stable_patience"),
    ],
)
def test_bad_values_name_their_key(bad: dict[str, float], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        Schedule(**bad)  # type: ignore[arg-type]
