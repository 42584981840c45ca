"""Are planted copies and strangers found in a folder of pictures? The files about single images, judged.

    python -m benchmarks.planted copies DIR --n 1500 --seeds 3

plants copies of 15 of 1,500 pictures of DIR (saved again as JPEG of quality 60, half as large, cropped to 90 % of each
side at a random place, brightened by 1.2, in turn), reads the folder as a run does, and counts how many of the copies
are in a group with their picture, and how many groups hold none of them.

    python -m benchmarks.planted strangers DIR --seeds 3 --others fashion_mnist_mini textures OTHER_DIR

plants 12 pictures of other kinds among 1,500 and counts how many of them are among the first 30 of odd.csv. Kinds are
fashion_mnist_mini, textures and documents, which are drawn, and folders of pictures; parquet:DIR holds parquet files.

    python -m benchmarks.planted folder DIR --into OUT

plants both among all pictures of DIR (or --n of them), in folders of the same names below OUT, and ends there: to try
`deepcluster OUT` on.
"""

import argparse
import csv
import io
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deepcluster.data.images import ImageSet
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Arrays, Folder, Parquet, Source
from deepcluster.data.sources.load import load
from deepcluster.evaluation.samples.sample_files import DUPLICATES, ODD, SampleFiles
from deepcluster.evaluation.samples.settings import AboutImages
from deepcluster.system.progress import Progress

N_COPIES = 15
N_STRANGERS, FIRST = 12, 30
SIDE = 128  # of drawn strangers


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
        file = _changed(into / name, into, number, draw)
        planted[file.name] = name
    return planted


def _changed(file: Path, into: Path, number: int, draw: random.Random) -> Path:
    """A changed copy of a picture, of the kind whose turn it is, in `into`."""
    kind = list(CHANGES)[number % len(CHANGES)]
    copy = CHANGES[kind](Image.open(file).convert("RGB"), draw)
    path = into / f"{kind}_{number}.{'jpg' if kind == 'saved_again' else 'png'}"
    copy.save(path, **({"quality": 60} if kind == "saved_again" else {}))
    return path


def plant_strangers(folder: Path, into: Path, *, others: list[str], n: int, n_strangers: int, seed: int) -> set[str]:
    """Copy n - n_strangers pictures of a folder into another, and strangers of all kinds, equally many of each.

    Returns:
        The strangers' names.
    """
    plant_copies(folder, into, n=n - n_strangers, n_copies=0, seed=seed)
    draw, names = random.Random(seed), set()
    for number in range(n_strangers):
        kind = others[number % len(others)]
        names.add(f"stranger_{number}.png")
        _stranger(kind, draw).save(into / f"stranger_{number}.png")
    return names


def plant_folder(
    folder: Path, into: Path, *, others: list[str], n: int | None, n_copies: int, n_strangers: int, seed: int
) -> None:
    """Copy pictures with their folders, and put copies of some and strangers beside others of them.

    Args:
        n: pictures without those that are planted; None: all.
    """
    draw = random.Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    chosen = sorted(draw.sample(files, min(n or len(files), len(files))))
    for file in chosen:
        (into / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, into / file.relative_to(folder))
    for number, file in enumerate(draw.sample(chosen, n_copies)):
        _changed(file, into / file.parent.relative_to(folder), number, draw)
    for number, file in enumerate(draw.sample(chosen, n_strangers)):
        beside = into / file.parent.relative_to(folder)
        _stranger(others[number % len(others)], draw).save(beside / f"stranger_{number}.png")


def _stranger(kind: str, draw: random.Random) -> Image.Image:
    if kind == "textures":
        return Image.fromarray(_texture(np.random.default_rng(draw.randrange(2**32))))
    if kind == "documents":
        page = Image.new("L", (SIDE, SIDE), draw.randint(235, 255))
        for top in range(8, SIDE - 8, draw.choice([7, 9, 11])):
            line = "".join(draw.choice("abcdefghij klmnop ") for _ in range(19))
            ImageDraw.Draw(page).text((6, top), line, fill=20)
        return page
    images = _others(kind)
    pixels = images.read(draw.randrange(len(images)))
    return Image.fromarray(
        pixels.permute(1, 2, 0).squeeze(2).numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()
    )


def _texture(values: np.random.Generator) -> NDArray[np.uint8]:
    """Noise, waves, checks or clouds."""
    y, x = np.mgrid[:SIDE, :SIDE]
    match values.integers(4):
        case 0:
            picture = values.normal(128, 50, (SIDE, SIDE, 3))
        case 1:
            a, b = values.uniform(-0.5, 0.5, 2)
            picture = np.repeat(128 + 100 * np.sin(a * x + b * y)[..., None], 3, axis=2)
        case 2:
            width, height = values.integers(6, 20, 2)
            is_dark = (x // width + y // height) % 2 == 1
            picture = np.where(is_dark[..., None], values.integers(0, 256, 3), values.integers(0, 256, 3))
        case _:
            layers = [values.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (4, 8, 16, 32)]
            large = [Image.fromarray(layer).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for layer in layers]
            picture = np.mean(large, axis=0)
    return picture.clip(0, 255).astype(np.uint8)


@cache
def _others(kind: str) -> ImageSet:
    source: Source = Folder(root=kind)
    if kind.startswith("parquet:"):
        source = Parquet(root=kind.removeprefix("parquet:"))
    elif kind == "fashion_mnist_mini":
        source = Arrays()
    images = load(
        source,
        Reading(cache_dir="none", num_workers=0, check="none" if isinstance(source, Folder) else "auto"),
        "train",
    )
    assert images is not None
    return images


def find_strangers(folder: Path, strangers: set[str], out: Path, *, seed: int) -> Found:
    """Read a folder as a run does, write its odd.csv, and count the strangers among the first 30."""
    files = _files(folder, out, seed)
    started = time.perf_counter()
    files.find_odd(files.look()[0].statistics)
    seconds = time.perf_counter() - started
    with (out / ODD).open(newline="") as file:
        first = [row["sample"] for row in csv.DictReader(file)][:FIRST]
    n_found = len(strangers & {*first})
    return Found(len(strangers), n_found, len(first) - n_found, float("nan"), seconds)


def find_copies(folder: Path, planted: dict[str, str], out: Path, *, seed: int) -> Found:
    """Read a folder as a run does, write its duplicates.csv, and count."""
    files = _files(folder, out, seed)
    started = time.perf_counter()
    numbers = files.find_duplicates([small.grey for small in files.look()])[1]
    seconds = time.perf_counter() - started
    groups: dict[str, set[str]] = {}
    with (out / DUPLICATES).open(newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["group"], set()).add(row["sample"])
    n_found = sum(any({copy, name} <= group for group in groups.values()) for copy, name in planted.items())
    n_false = sum(not group & planted.keys() for group in groups.values())
    return Found(len(planted), n_found, n_false, numbers["duplicate_limit"], seconds)


def _files(folder: Path, out: Path, seed: int) -> SampleFiles:
    images = load(Folder(root=str(folder)), Reading(cache_dir="none", num_workers=0), "train")
    assert images is not None
    return SampleFiles(
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


def main(arguments: list[str] | None = None) -> list[Found]:
    """Plant, look and print, once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["copies", "strangers", "folder"])
    parser.add_argument("folder", type=Path, help="pictures, at any depth")
    parser.add_argument("--n", type=int, help="pictures in all, 1500 unless said")
    parser.add_argument("--copies", type=int, default=N_COPIES, help="of them planted")
    parser.add_argument("--strangers", type=int, default=N_STRANGERS, help="of them planted")
    parser.add_argument("--others", nargs="+", default=["fashion_mnist_mini", "textures", "documents"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--into", type=Path, help="folder that `folder` makes")
    typed = parser.parse_args(arguments)
    n = typed.n or 1500
    results: list[Found] = []
    if typed.what == "folder":
        if typed.into is None:
            parser.error("folder needs --into OUT")
        plant_folder(
            typed.folder,
            typed.into,
            others=typed.others,
            n=typed.n,
            n_copies=typed.copies,
            n_strangers=typed.strangers,
            seed=0,
        )
        return results
    for seed in range(typed.seeds):
        with tempfile.TemporaryDirectory() as folder:
            pictures = Path(folder) / "pictures"
            if typed.what == "strangers":
                strangers = plant_strangers(
                    typed.folder, pictures, others=typed.others, n=n, n_strangers=typed.strangers, seed=seed
                )
                found = find_strangers(pictures, strangers, Path(folder), seed=seed)
                print(f"seed {seed}: {found.n_found} of {found.n_planted} strangers among the first {FIRST}")
                results.append(found)
                continue
            planted = plant_copies(typed.folder, pictures, n=n, n_copies=typed.copies, seed=seed)
            found = find_copies(pictures, planted, Path(folder), seed=seed)
        print(
            f"seed {seed}: {found.n_found} of {found.n_planted} copies found, {found.n_false} other groups, "
            f"limit {found.limit:.3f}, {found.seconds:.0f} s"
        )
        results.append(found)
    return results


if __name__ == "__main__":
    main()
