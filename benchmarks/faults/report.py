"""One line of the table: a fault that was done, and what came of it."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Tried:
    """A fault done to a real run.

    Args:
        fault: what was done, and where.
        said: what the run said of it.
        wrong: what should not be; empty if all is as it should be.
        seconds: until the run had ended, after the fault.
    """

    fault: str
    said: str
    wrong: list[str]
    seconds: float = 0.0


def error_line(err: str) -> str:
    """The line that a person reads."""
    return next((line for line in err.splitlines() if line.startswith("error:")), "")
