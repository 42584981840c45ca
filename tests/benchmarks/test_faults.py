"""The faults of benchmarks/faults know where the code's phases are. test_commands.py does a few of them."""

from importlib import import_module
from operator import attrgetter

from benchmarks.faults.kills import AIMED_AT
from benchmarks.faults.runs import PHASES


def test_phases_are_where_the_code_is() -> None:
    """A phase that nobody enters would never be killed in."""
    assert set(AIMED_AT) <= set(PHASES)
    for place in (place for places in PHASES.values() for place in places):
        module, _, path = place.partition(":")
        assert callable(attrgetter(path)(import_module(module))), place
