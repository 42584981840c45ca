"""Rows of the leaderboard: methods and recipes on a set, judged alike, seed after seed.

    python -m benchmarks.leaderboard --set embedded --data DIR
    python -m benchmarks.leaderboard --set embedded --rows 2018 recipe --seeds 1 2 3 --data DIR
    python -m benchmarks.leaderboard --set embedded --held-out --data DIR -- optimizer=adamw optimizer.lr=2e-3
    python -m benchmarks.leaderboard --table v1_to_v2 --set embedded --data DIR
    python -m benchmarks.leaderboard --gpu --minutes 9 --data DIR
    python -m benchmarks.leaderboard --page

DIR holds the set's files (Fashion-MNIST's four .gz files; CIFAR-10 as parquet or as torchvision has it; Imagenette's
train/ and val/), or folders named as the sets; without --data Fashion-MNIST and CIFAR-10 are downloaded. What follows
`--` is train.py's: with --rows it is added to each row, alone it is a row. A finished measurement is kept in --out at
once, so the same command goes on where it was stopped. --gpu measures ResNet-18 on CIFAR-10 and Imagenette, 200 epochs
or 15 minutes each; its runs are kept in runs/leaderboard, and one that --minutes cuts off is resumed the next time.
"""

import argparse
import contextlib
import hashlib
import itertools
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmarks.cycle import machine
from benchmarks.deadline import Deadline, OutOfTime
from benchmarks.leaderboard import results
from benchmarks.leaderboard.measure import SMALLEST, Measurement
from benchmarks.leaderboard.rows import GPU_MINUTES, GPU_SETS, SETS, TABLES, Row, chosen_rows
from benchmarks.leaderboard.sets import SplitImages, data_overrides, place_of
from benchmarks.settings import ROOT, commit, parse, parser
from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.system.atomic import write_atomically

DOCS = ROOT / "docs"
RESULTS, PAGE = DOCS / "leaderboard.jsonl", DOCS / "leaderboard.md"


def options() -> argparse.ArgumentParser:
    words = parser(__doc__)
    words.add_argument("--set", choices=SETS, dest="name", help="default: embedded; --gpu: cifar10 and imagenette")
    words.add_argument("--table", choices=tuple(TABLES), default="main")
    words.add_argument("--gpu", action="store_true", help="the table of rows for a GPU")
    words.add_argument("--rows", nargs="+", metavar="NAME", help="of the table; default: all")
    words.add_argument("--seeds", type=int, nargs="+", help="default: 1 2 3; --gpu: 1")
    words.add_argument("--held-out", action="store_true", help="judge on training images, to choose settings")
    words.add_argument("--data", metavar="DIR")
    words.add_argument("--n-train", type=int, help="learn from so many images; default: all")
    words.add_argument("--threads", type=int, help="default: what OMP_NUM_THREADS says")
    words.add_argument("--minutes", type=float, help="stop after so long")
    words.add_argument(
        "--out", type=Path, help="file of results; default: docs/leaderboard.jsonl, to tune a temporary one"
    )
    words.add_argument("--folder", type=Path, help="keep the runs here, and go on with those that were stopped")
    words.add_argument("--again", action="store_true", help="measure what is in the file of results once more")
    words.add_argument("--smallest", action="store_true", help="everything tiny, to try the program")
    words.add_argument("--page", action="store_true", help="only write docs/leaderboard.md from the file of results")
    return words


def main(words: list[str] | None = None) -> int:
    arguments = with_defaults(parse(options(), words))
    if arguments.page:
        out, page = (RESULTS, PAGE) if arguments.out is None else (arguments.out, arguments.out.with_suffix(".md"))
        write_atomically(page, results.page(results.read_results(out)).encode())
        print(page)
        return 0
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
        threadpool_limits(arguments.threads)
    try:
        if arguments.gpu and not (torch.cuda.is_available() or arguments.smallest):
            raise ValueError("--gpu needs a CUDA device, and torch finds none; --smallest rehearses it without")
        for name in arguments.names:
            measure_set(arguments, name)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OutOfTime:
        print(f"stopped after {arguments.minutes:g} minutes; the same command goes on")
    return 0


def with_defaults(arguments: argparse.Namespace) -> argparse.Namespace:
    """The options with what follows from others; `names` are the sets."""
    if arguments.gpu:
        arguments.table = "gpu"
        arguments.folder = arguments.folder or Path("runs") / "leaderboard"
    arguments.gpu = arguments.table == "gpu"
    sets = GPU_SETS if arguments.gpu else ("embedded",)
    arguments.names = sets if arguments.name is None else (arguments.name,)
    arguments.seeds = arguments.seeds or ([1] if arguments.gpu else [1, 2, 3])
    arguments.deadline = Deadline(arguments.minutes)
    return arguments


def measure_set(arguments: argparse.Namespace, name: str) -> None:
    """Measure the rows of a set.

    Raises:
        FileNotFoundError, ValueError: if a row is unknown, or images are missing.
    """
    rows = chosen_rows(name, arguments.table, arguments.rows, arguments.overrides)
    place = place_of(name, arguments.data)
    measurement = measurement_of(arguments, name, place)
    measurement.load()
    out = arguments.out or default_out(arguments, name)
    done = {results.key_of(result) for result in results.read_results(out)}
    keys = set()
    for seed, row in itertools.product(arguments.seeds, rows):
        identity = identity_of(arguments, name, row, seed)
        key = results.key_of(identity)
        keys.add(key)
        if key in done and not arguments.again:
            continue
        with run_folder(arguments.folder, key, is_new=arguments.again) as folder:
            try:
                config = measurement.config(row, seed)
                with arguments.deadline.stops():
                    figures = measurement.measure(row, config, folder)
            except ValueError as error:  # settings that do not go together, or a collapse
                figures = {"refused": " ".join(str(error).replace(str(place), "DIR").split())}
        result = {**identity, **figures, **surroundings(arguments, name, row, seed)}
        results.append(out, result)
        print(results.line_of(result), flush=True)
    mine = [result for result in results.read_results(out) if results.key_of(result) in keys]
    print(f"\n{name}: means over the seeds, {out}")
    for row_name, group in results.by_row(mine, rows).items():
        print(f"  {row_name}: {results.told(group)}")


def measurement_of(arguments: argparse.Namespace, name: str, place: Path | None) -> Measurement:
    sizes = SMALLEST if arguments.smallest else {"n_train": arguments.n_train}
    return Measurement(
        images=SplitImages(name=name, place=place, held_out=arguments.held_out, **sizes),
        data=data_overrides(name, place),
        probe=LinearProbe(epochs=1, learning_rates=[0.1]) if arguments.smallest else LinearProbe(),
        smallest=arguments.smallest,
        max_minutes=GPU_MINUTES if arguments.gpu else None,
    )


def default_out(arguments: argparse.Namespace, name: str) -> Path:
    """The file of the final results, or one of trials in the temporary folder."""
    kinds = {
        "smallest": arguments.smallest,
        "held_out": arguments.held_out,
        f"{arguments.n_train}_images": arguments.n_train is not None,
    }
    kind = "_".join(kind for kind, is_so in kinds.items() if is_so)
    return Path(tempfile.gettempdir()) / f"leaderboard_{name}_{kind}.jsonl" if kind else RESULTS


def identity_of(arguments: argparse.Namespace, name: str, row: Row, seed: int) -> results.Result:
    """What is measured."""
    is_alone = arguments.rows is None and bool(arguments.overrides)
    return {
        "set": name,
        "held_out": arguments.held_out,
        "n_train": SMALLEST["n_train"] if arguments.smallest else arguments.n_train,
        "table": "main" if is_alone else arguments.table,
        "row": row.name,
        "seed": seed,
        "overrides": list(row.overrides),
        "baseline": row.baseline,
    }


@contextlib.contextmanager
def run_folder(kept: Path | None, key: results.Key, *, is_new: bool) -> Iterator[Path]:
    """The folder of a run: under the one where runs are kept, by its key, or a temporary one.

    Args:
        is_new: forget what it holds.
    """
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="leaderboard_") as temporary:
            yield Path(temporary)
        return
    folder = kept / hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()
    if is_new and folder.is_dir():
        shutil.rmtree(folder)
    yield folder


def surroundings(arguments: argparse.Namespace, name: str, row: Row, seed: int) -> results.Result:
    """Where and how a result was measured."""
    more = " ".join(["", *arguments.overrides])
    words = [
        *("python", "-m", "benchmarks.leaderboard", "--set", name),
        *([] if arguments.table == "main" else ["--table", arguments.table]),
        *([] if arguments.rows is None and arguments.overrides else ["--rows", row.name.removesuffix(more)]),
        *("--seeds", str(seed)),
        *(["--held-out"] if arguments.held_out else []),
        *(["--n-train", str(arguments.n_train)] if arguments.n_train is not None else []),
        *(["--", *arguments.overrides] if arguments.overrides else []),
    ]
    return {
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "commit": commit(),
        "command": shlex.join(words),
    }


if __name__ == "__main__":
    sys.exit(main())
