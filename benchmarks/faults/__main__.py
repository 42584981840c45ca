"""Faults done to real runs, and what came of them: `python -m benchmarks.faults --kills 50`.

Exit status 1 if any changed a result.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: runs are forked, and a fork has no threads of its parent

from benchmarks.faults.kills import by_phase, run_kills


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="runs that are killed")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where the runs go; default: a new temporary folder")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="faults_"))
    kills = run_kills(folder, given.kills, given.seed, lambda line: print(line, flush=True))
    print(f"\n{'phase':24}{'kills':>6}{'same result':>13}")
    for phase, n, same in by_phase(kills):
        print(f"{phase:24}{n:6}{same:13}")
    n_same = sum(kill.same for kill in kills)
    print(f"{n_same} of {len(kills)} killed runs ended with the uninterrupted run's result; {folder}/kills.csv")
    return 0 if n_same == len(kills) else 1


if __name__ == "__main__":
    sys.exit(main())
