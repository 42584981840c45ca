"""Rows of the leaderboard: methods and recipes on a set, judged alike, seed after seed.

    python -m benchmarks.leaderboard --set embedded --data DIR
    python -m benchmarks.leaderboard --set embedded --rows 2018 recipe --seeds 1 2 3 --data DIR
    python -m benchmarks.leaderboard --set embedded --held-out --data DIR -- optimizer=adamw optimizer.lr=2e-3
    python -m benchmarks.leaderboard --table v1_to_v2 --set embedded --data DIR
    python -m benchmarks.leaderboard --page

DIR holds the set's files (Fashion-MNIST's four .gz files; CIFAR-10 as parquet or as torchvision has it; Imagenette's
train/ and val/), or folders named as the sets; without --data Fashion-MNIST and CIFAR-10 are downloaded. What follows
`--` is train.py's: with --rows it is added to each row, alone it is a row. A finished measurement is kept in --out at
once, so the same command goes on where it was stopped.
"""

import argparse
import contextlib
import hashlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmarks.cycle import machine
from benchmarks.leaderboard import results
from benchmarks.leaderboard.measure import SMALLEST, Measurement
from benchmarks.leaderboard.rows import SETS, TABLES, Row, chosen_rows
from benchmarks.leaderboard.sets import SplitImages, data_overrides, place_of
from benchmarks.settings import ROOT, parse, parser
from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.system.atomic import write_atomically

DOCS = ROOT / "docs"
RESULTS, PAGE = DOCS / "leaderboard.jsonl", DOCS / "leaderboard.md"


def options() -> argparse.ArgumentParser:
    words = parser(__doc__)
    words.add_argument("--set", choices=SETS, default="embedded", dest="name")
    words.add_argument("--table", choices=tuple(TABLES), default="main")
    words.add_argument("--rows", nargs="+", metavar="NAME", help="of the table; default: all")
    words.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    words.add_argument("--held-out", action="store_true", help="judge on training images, to choose settings")
    words.add_argument("--data", metavar="DIR")
    words.add_argument("--n-train", type=int, help="learn from so many images; default: all")
    words.add_argument("--threads", type=int, help="default: what OMP_NUM_THREADS says")
    words.add_argument(
        "--out", type=Path, help="file of results; default: docs/leaderboard.jsonl, held out a temporary one"
    )
    words.add_argument("--folder", type=Path, help="keep the runs here, and go on with those that were stopped")
    words.add_argument("--again", action="store_true", help="measure what is in the file of results once more")
    words.add_argument("--smallest", action="store_true", help="everything tiny, to try the program")
    words.add_argument("--page", action="store_true", help="only write docs/leaderboard.md from the file of results")
    return words


def main(words: list[str] | None = None) -> int:
    arguments = parse(options(), words)
    out = arguments.out or default_out(arguments)
    if arguments.page:
        page = PAGE if arguments.out is None else out.with_suffix(".md")
        write_atomically(page, results.page(results.read_results(out)).encode())
        print(page)
        return 0
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
        threadpool_limits(arguments.threads)
    try:
        rows = chosen_rows(arguments.name, arguments.table, arguments.rows, arguments.overrides)
        measurement = measurement_of(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    measure_all(arguments, rows, measurement, out)
    return 0


def default_out(arguments: argparse.Namespace) -> Path:
    is_final = not (arguments.held_out or arguments.smallest or arguments.n_train)
    kind = "smallest" if arguments.smallest else "held_out" if arguments.held_out else f"{arguments.n_train}_images"
    return RESULTS if is_final else Path(tempfile.gettempdir()) / f"leaderboard_{arguments.name}_{kind}.jsonl"


def measurement_of(arguments: argparse.Namespace) -> Measurement:
    place = place_of(arguments.name, arguments.data)
    sizes = SMALLEST if arguments.smallest else {}
    n_train = sizes.get("n_train", arguments.n_train)
    images = SplitImages(
        name=arguments.name, place=place, held_out=arguments.held_out, n_train=n_train, n_test=sizes.get("n_test")
    )
    probe = LinearProbe(epochs=1, learning_rates=[0.1]) if arguments.smallest else LinearProbe()
    return Measurement(
        images=images, data=data_overrides(arguments.name, place), probe=probe, smallest=arguments.smallest
    )


def measure_all(arguments: argparse.Namespace, rows: list[Row], measurement: Measurement, out: Path) -> None:
    """Measure what is not in the file of results yet; print a line for each, and the means of the rows."""
    done = {results.key_of(result) for result in results.read_results(out)}
    table = None if arguments.rows is None and arguments.overrides else arguments.table
    keys = set()
    for seed in arguments.seeds:
        for row in rows:
            identity = {
                "set": arguments.name,
                "held_out": arguments.held_out,
                "n_train": measurement.images.n_train,
                "table": table or "main",
                "row": row.name,
                "seed": seed,
                "overrides": list(row.overrides),
                "baseline": row.baseline,
            }
            key = results.key_of(identity)
            keys.add(key)
            if key in done and not arguments.again:
                continue
            with run_folder(arguments.folder, key) as folder:
                try:
                    figures = measurement.measure(row, seed, folder)
                except ValueError as error:  # settings that do not go together, or a collapse
                    figures = {"refused": " ".join(str(error).split())}
            result = {**identity, **figures, **surroundings(arguments, row, seed)}
            results.append(out, result)
            print(results.line_of(result), flush=True)
    mine = [result for result in results.read_results(out) if results.key_of(result) in keys]
    print(f"\nmeans over the seeds, {out}")
    for name, group in results.by_row(mine, rows).items():
        print(f"  {name}: {results.told(group)}")


@contextlib.contextmanager
def run_folder(kept: Path | None, key: results.Key) -> Iterator[Path]:
    """The folder of a run: under the one where runs are kept, by its key, or a temporary one."""
    if kept is not None:
        yield kept / hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()
        return
    with tempfile.TemporaryDirectory(prefix="leaderboard_") as folder:
        yield Path(folder)


def surroundings(arguments: argparse.Namespace, row: Row, seed: int) -> dict[str, object]:
    """Where and how a result was measured."""
    words = ["python", "-m", "benchmarks.leaderboard", "--set", arguments.name]
    words += [] if arguments.table == "main" else ["--table", arguments.table]
    words += (
        []
        if arguments.rows is None and arguments.overrides
        else ["--rows", row.name.removesuffix(" ".join(["", *arguments.overrides]))]
    )
    words += ["--seeds", str(seed)]
    words += ["--held-out"] if arguments.held_out else []
    words += ["--n-train", str(arguments.n_train)] if arguments.n_train else []
    words += ["--", *arguments.overrides] if arguments.overrides else []
    return {
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "commit": commit(),
        "command": shlex.join(words),
    }


def commit() -> str:
    """The repository's commit, with a + if files differ from it; "unknown" where this is no clone."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
        return git("rev-parse", "--short=9", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
