"""Are planted copies and strangers found in a folder of pictures? The files about single images, judged.

    python -m benchmarks.planted copies DIR --n 1500 --seeds 3

plants copies of 15 of 1,500 pictures of DIR (saved again as JPEG of quality 60, half as large, cropped to 90 % of each
side at a random place, brightened by 1.2, in turn), reads the folder as a run does, and counts how many of the copies
are in a group with their picture, how many have it as the nearest of all, and how many groups hold none of them.
"""

import argparse
import csv
import io
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Folder
from deepcluster.data.sources.load import load
from deepcluster.evaluation.samples.sample_files import DUPLICATES, SampleFiles
from deepcluster.evaluation.samples.settings import AboutImages
from deepcluster.system.progress import Progress

N_COPIES = 15


class Found(NamedTuple):
    """Of the planted copies: how many are in a group with their picture; groups without any; the limit; seconds."""

    n_planted: int
    n_found: int
    n_false: int
    limit: float
    seconds: float


def _saved_again(image: Image.Image, draw: random.Random) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("RGB")


def _half(image: Image.Image, draw: random.Random) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)


def _cropped(image: Image.Image, draw: random.Random) -> Image.Image:
    width, height = round(0.9 * image.width), round(0.9 * image.height)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _brightened(image: Image.Image, draw: random.Random) -> Image.Image:
    return image.point(lambda value: min(255, int(1.2 * value)))


CHANGES: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "saved_again": _saved_again,
    "half": _half,
    "cropped": _cropped,
    "brightened": _brightened,
}


def plant_copies(folder: Path, into: Path, *, n: int, n_copies: int, seed: int) -> dict[str, str]:
    """Copy n pictures of a folder into another, among them changed copies of some.

    Returns:
        Name of a planted copy -> name of its picture.
    """
    draw = random.Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    into.mkdir(parents=True)
    planted, names = {}, []
    for number, file in enumerate(draw.sample(files, min(n - n_copies, len(files)))):
        names.append(f"{number:05}{file.suffix.lower()}")
        shutil.copyfile(file, into / names[-1])
    for number, name in enumerate(draw.sample(names, n_copies)):
        kind = list(CHANGES)[number % len(CHANGES)]
        copy = CHANGES[kind](Image.open(into / name).convert("RGB"), draw)
        file = into / f"{kind}_{number}.{'jpg' if kind == 'saved_again' else 'png'}"
        copy.save(file, **({"quality": 60} if kind == "saved_again" else {}))
        planted[file.name] = name
    return planted


def find_copies(folder: Path, planted: dict[str, str], out: Path, *, seed: int) -> Found:
    """Read a folder as a run does, write its duplicates.csv, and count."""
    data, reading = Folder(root=str(folder)), Reading(cache_dir="none", num_workers=0)
    images = load(data, reading, "train")
    assert images is not None
    files = SampleFiles(
        folder=out,
        images=images,
        test_images=None,
        root=folder,
        settings=AboutImages(),
        batch_size=256,
        num_workers=0,
        device=torch.device("cpu"),
        seed=seed,
        progress=Progress(bars=False),
    )
    started = time.perf_counter()
    numbers = files.find_duplicates()[1]
    seconds = time.perf_counter() - started
    groups: dict[str, set[str]] = {}
    with (out / DUPLICATES).open(newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["group"], set()).add(row["sample"])
    n_found = sum(any({copy, name} <= group for group in groups.values()) for copy, name in planted.items())
    n_false = sum(not group & planted.keys() for group in groups.values())
    return Found(len(planted), n_found, n_false, numbers["duplicate_limit"], seconds)


def main(arguments: list[str] | None = None) -> list[Found]:
    """Plant, look and print, once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["copies"])
    parser.add_argument("folder", type=Path, help="pictures, at any depth")
    parser.add_argument("--n", type=int, default=1500, help="pictures in all")
    parser.add_argument("--copies", type=int, default=N_COPIES, help="of them planted")
    parser.add_argument("--seeds", type=int, default=3)
    typed = parser.parse_args(arguments)
    results = []
    for seed in range(typed.seeds):
        with tempfile.TemporaryDirectory() as folder:
            pictures = Path(folder) / "pictures"
            planted = plant_copies(typed.folder, pictures, n=typed.n, n_copies=typed.copies, seed=seed)
            found = find_copies(pictures, planted, Path(folder), seed=seed)
        print(
            f"seed {seed}: {found.n_found} of {found.n_planted} copies found, {found.n_false} other groups, "
            f"limit {found.limit:.3f}, {found.seconds:.0f} s"
        )
        results.append(found)
    return results


if __name__ == "__main__":
    main()
