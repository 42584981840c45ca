"""Faults done to real runs, and what came of them.

    python -m benchmarks.faults --kills 50 --seed 1 --folder DIR
    python -m benchmarks.faults files disk processes --folder DIR

Parts: kills (kill -9 at random moments), files (a damaged last.ckpt), disk (full while each file is written; needs
root), processes (a data worker or a rank killed, a file that hangs). Exit status 1 if any fault did harm.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: runs are forked, and a fork has no threads of its parent

from benchmarks.faults.disk import run_disk
from benchmarks.faults.files import run_files
from benchmarks.faults.kills import by_phase, run_kills
from benchmarks.faults.processes import run_processes
from benchmarks.faults.report import Tried

PARTS = ("kills", "files", "disk", "processes")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: kills")
    parser.add_argument("--kills", type=int, default=50, help="runs that are killed")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and bytes")
    parser.add_argument("--most", type=int, help="faults of each of the other parts; default: all")
    parser.add_argument("--folder", type=Path, help="where the runs go; default: a new temporary folder")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    folder: Path = options.folder or Path(tempfile.mkdtemp(prefix="faults_"))
    say = partial(print, flush=True)
    others: dict[str, Callable[[Path], list[Tried]]] = {
        "files": lambda place: run_files(place, options.seed, options.most, say),
        "disk": lambda place: run_disk(place, options.most, say),
        "processes": lambda place: run_processes(place, options.most, say),
    }
    harmed, lines = 0, []
    for part in options.parts or ["kills"]:
        if part == "kills":
            kills = run_kills(folder / part, options.kills, options.seed, say)
            n_good, n = sum(kill.same for kill in kills), len(kills)
            lines += [f"  {phase:24}{met:4} kills, {same:4} the same result" for phase, met, same in by_phase(kills)]
        else:
            tried = others[part](folder / part)
            n_good, n = sum(not one.wrong for one in tried), len(tried)
        harmed += n - n_good
        lines.append(f"{part}: {n_good} of {n} faults ended as they should, with the result of a run without them")
    print("", *lines, f"files in {folder}", sep="\n")
    return 0 if harmed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
