"""Progress bars and lines on a terminal; into a file or pipe only lines."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tqdm import tqdm

from deepcluster.system import distributed


@dataclass(kw_only=True)
class Progress:
    """Where progress is shown: bars on a terminal's stderr and in notebooks, one line per epoch on stdout.

    Args:
        bars: show bars.
        lines: print lines.
    """

    bars: bool = field(default_factory=lambda: sys.stderr.isatty() or "ipykernel" in sys.modules)
    lines: bool = True

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """A bar for one phase, which vanishes at its end; yields ``advance(n)``."""
        shown = self.bars and distributed.is_main_process()
        with tqdm(total=total, desc=title, unit=unit, leave=False, disable=not shown, dynamic_ncols=True) as bar:
            yield bar.update

    def say(self, line: str) -> None:
        """Print a line above any bar."""
        if self.lines and distributed.is_main_process():
            encoding = sys.stdout.encoding or "utf-8"  # file names may hold characters that the terminal cannot show
            tqdm.write(line.encode(encoding, "backslashreplace").decode(encoding), file=sys.stdout)
            sys.stdout.flush()


def clock(seconds: float) -> str:
    """Seconds as text, with a unit to suit: 9.6 s, 95 s, 2.5 min, 10 h."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.6 * length:
            value = seconds / length
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
