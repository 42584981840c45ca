"""How fast a photograph becomes a crop of 224 px: ways to decode and to resize, and the loader's worker as it is.

    OMP_NUM_THREADS=1 python -m benchmarks.decode --root DIR
    OMP_NUM_THREADS=1 python -m benchmarks.decode --root DIR --loader
    OMP_NUM_THREADS=1 python -m benchmarks.decode --root DIR --scaled

DIR holds photographs of any size; mosaics of them, saved as JPEG, have the size and the detail of ImageNet's
(500 x 375) or a phone's (2000 x 1500) pictures. --scaled compares reading.decode=scaled with full, also for 12
megapixels: those are mosaics enlarged twice, with the grain of a sensor, since cameras do not resolve their pixels.
Rates are images per second of processor time on one core, so that other programs disturb them little; all ways take
turns in each round, and medians over rounds are printed, with ratios to "here". --loader compares the whole way through
worker processes with the training step and the forward pass of an AlexNet that they must keep up with.
"""

import argparse
import io
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import functional as PF
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.crops import draw_boxes
from deepcluster.data.decode import decode
from deepcluster.data.images import FileImages
from deepcluster.data.loader import EpochLoader, feature_batches
from deepcluster.data.shrunk import decode_shrunk, whole
from deepcluster.data.views import FeatureView, TrainView, draw

try:
    import simplejpeg
except ImportError:  # not needed by the package: pip install simplejpeg
    simplejpeg = None

SIZE, RESIZE = 224, 256
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
Box = tuple[int, int, int, int]  # top, left, height, width


def mosaics(root: Path, width: int, height: int, n: int) -> list[bytes]:
    """n JPEGs of photographs side by side, in their own pixels."""
    draw_from = random.Random(0)
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".webp", ".png"))
    if not files:
        raise SystemExit(f"--root={root} holds no photographs")
    made = []
    for _ in range(n):
        canvas = Image.new("RGB", (width, height))
        top = 0
        while top < height:
            left, row = 0, height
            while left < width:
                with Image.open(draw_from.choice(files)) as tile:
                    canvas.paste(tile.convert("RGB"), (left, top))
                    left, row = left + tile.width, min(row, tile.height)
            top += row
        data = io.BytesIO()
        canvas.save(data, "JPEG", quality=92)
        made.append(data.getvalue())
    return made


def photographs(root: Path, width: int, height: int, n: int) -> list[bytes]:
    """n JPEGs as cameras write them: mosaics enlarged twice, with grain."""
    grain = np.random.default_rng(0)
    made = []
    for data in mosaics(root, width // 2, height // 2, n):
        soft = np.asarray(Image.open(io.BytesIO(data)).resize((width, height), Image.Resampling.BICUBIC), np.float32)
        pixels = (soft + 2 * grain.standard_normal((height, width, 1), np.float32)).clip(0, 255).round()
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


def pillow(data: bytes, draft: tuple[int, int] | None = None) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if draft is not None:
        image.draft("RGB", draft)
    return image.convert("RGB")


def pillow_crop(data: bytes, box: Box, *, draft: bool = False, gap: float | None = None) -> Image.Image:
    """RandomResizedCrop; with draft the JPEG is decoded at 1/2, 1/4 or 1/8 where the crop stays large enough."""
    top, left, height, width = box
    full = Image.open(io.BytesIO(data)).size
    least = (int(full[0] * SIZE / width) + 1, int(full[1] * SIZE / height) + 1)
    image = pillow(data, least if draft else None)
    x, y = image.width / full[0], image.height / full[1]
    edges = (left * x, top * y, (left + width) * x, (top + height) * y)
    return image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=edges, reducing_gap=gap)


def pillow_feature(data: bytes, *, draft: bool = False, gap: float | None = None) -> Image.Image:
    image = pillow(data, (RESIZE, RESIZE) if draft else None)
    short = min(image.size)
    size = (image.width * RESIZE // short, image.height * RESIZE // short)
    return PF.center_crop(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=gap), [SIZE, SIZE])


def with_simplejpeg(data: bytes, fast: bool) -> Tensor:
    pixels = simplejpeg.decode_jpeg(data, fastdct=fast, fastupsample=fast)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def ways(train: TrainView, features: FeatureView) -> dict[str, dict[str, Callable[[bytes, Tensor, Box], object]]]:
    """View -> way -> function of (JPEG, draws, box); the first way of each is what this package does."""

    def raw(data: bytes) -> Tensor:
        return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)

    def resized(image: Tensor, box: Box) -> Tensor:
        return TF.resized_crop(image, *box, [SIZE, SIZE], antialias=True)

    groups: dict[str, dict[str, Callable[[bytes, Tensor, Box], object]]] = {
        "decoding alone": {
            "here": lambda data, numbers, box: decode(data, 3),
            "torchvision decode_jpeg": lambda data, numbers, box: raw(data),
            "Pillow": lambda data, numbers, box: pillow(data),
            "Pillow, draft to 256": lambda data, numbers, box: pillow(data, (RESIZE, RESIZE)),
        },
        "RandomResizedCrop 224": {
            "here": lambda data, numbers, box: train.crop_file(whole(decode(data, 3)), numbers),
            "decode_jpeg, float, resize": lambda data, numbers, box: resized(raw(data).float(), box),
            "Pillow": lambda data, numbers, box: pillow_crop(data, box),
            "Pillow, reducing_gap 2": lambda data, numbers, box: pillow_crop(data, box, gap=2.0),
            "Pillow, draft": lambda data, numbers, box: pillow_crop(data, box, draft=True),
        },
        "Resize 256, CenterCrop 224": {
            "here": lambda data, numbers, box: features.crop_file(whole(decode(data, 3))),
            "Pillow": lambda data, numbers, box: pillow_feature(data),
            "Pillow, reducing_gap 2": lambda data, numbers, box: pillow_feature(data, gap=2.0),
            "Pillow, draft": lambda data, numbers, box: pillow_feature(data, draft=True),
        },
    }
    if simplejpeg is not None:
        for name, fast in (("simplejpeg", False), ("simplejpeg, fast DCT", True)):
            groups["decoding alone"][name] = lambda data, numbers, box, fast=fast: with_simplejpeg(data, fast)
            groups["RandomResizedCrop 224"][name] = lambda data, numbers, box, fast=fast: resized(
                with_simplejpeg(data, fast), box
            )
            groups["Resize 256, CenterCrop 224"][name] = lambda data, numbers, box, fast=fast: features.crop_file(
                whole(with_simplejpeg(data, fast))
            )
    return groups


def boxes(view: TrainView, numbers: Tensor, width: int, height: int) -> list[Box]:
    return [tuple(box) for box in draw_boxes(numbers, height, width, view.scale, view.ratio).tolist()]


def compare(jpegs: list[bytes], width: int, height: int, rounds: int) -> None:
    train = TrainView(SIZE, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD, on_files=True)
    features = FeatureView(SIZE, RESIZE, MEAN, STD, on_files=True)
    numbers = draw(len(jpegs), torch.Generator().manual_seed(0))
    drawn = boxes(train, numbers, width, height)
    print(
        f"\n{width} x {height}, {sum(map(len, jpegs)) / len(jpegs) / 1e3:.0f} kB a JPEG, {len(jpegs)} x {rounds} rounds"
    )
    groups = ways(train, features)
    rates: dict[tuple[str, str], list[float]] = {(view, way): [] for view, options in groups.items() for way in options}
    for number in range(rounds + 1):  # the first warms up
        for view, options in groups.items():
            for way, work in options.items():
                started = time.process_time()
                for data, own, box in zip(jpegs, numbers, drawn, strict=True):
                    work(data, own, box)
                if number:
                    rates[view, way].append(len(jpegs) / (time.process_time() - started))
    for view, options in groups.items():
        print(f"{view}")
        for way in options:
            ratio = statistics.median(a / b for a, b in zip(rates[view, way], rates[view, "here"], strict=True))
            print(f"  {way:28} {statistics.median(rates[view, way]):7.0f} images/s per core  {ratio:5.2f} x here")


def compare_scaled(jpegs: list[bytes], width: int, height: int, rounds: int) -> None:
    """reading.decode=scaled against full: time on the processor, and how far the pixels of the crops are apart."""
    train = TrainView(SIZE, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD, on_files=True)
    features = FeatureView(SIZE, RESIZE, MEAN, STD, on_files=True)
    numbers = draw(len(jpegs), torch.Generator().manual_seed(0))

    def trained(data: bytes, own: Tensor, scaled: bool) -> Tensor:
        return train.crop_file(decode_shrunk(data, 3, "", partial(train.shrink, draws=own) if scaled else None), own)

    def seen(data: bytes, own: Tensor, scaled: bool) -> Tensor:
        return features.crop_file(decode_shrunk(data, 3, "", features.shrink if scaled else None))

    print(f"\n{width} x {height}, {sum(map(len, jpegs)) / len(jpegs) / 1e3:.0f} kB a JPEG, {len(jpegs)} x {rounds}")
    for name, work in (("RandomResizedCrop 224", trained), ("Resize 256, CenterCrop 224", seen)):
        times: dict[bool, list[float]] = {False: [], True: []}
        crops: dict[bool, Tensor] = {}
        for number in range(rounds + 1):  # the first warms up
            for scaled in times:
                started = time.process_time()
                made = [work(data, own, scaled) for data, own in zip(jpegs, numbers, strict=True)]
                if number:
                    times[scaled].append(1e3 * (time.process_time() - started) / len(jpegs))
                crops[scaled] = torch.stack(made).float()
        ratios = sorted(full / small for full, small in zip(times[False], times[True], strict=True))
        apart = float((crops[False] - crops[True]).abs().mean())
        print(
            f"  {name:27} full {statistics.median(times[False]):6.1f} ms, "
            f"scaled {statistics.median(times[True]):6.1f} ms: "
            f"{statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f}); "
            f"{apart:.2f} grey levels apart"
        )


def loader(jpegs: list[bytes], rounds: int, workers: int) -> None:
    """The whole way through processes: worker and main process, in processor time and on the clock."""
    with tempfile.TemporaryDirectory() as folder:
        for i, data in enumerate(jpegs):
            Path(folder, f"{i}.jpg").write_bytes(data)
        copies = 8
        samples = [f"{i}.jpg" for i in range(len(jpegs))] * copies
        images = FileImages(root=Path(folder), samples=samples, n_channels=3)
        train = TrainView(SIZE, [0.08, 1.0], [0.75, 4 / 3], True, MEAN, STD, on_files=True)
        features = FeatureView(SIZE, RESIZE, MEAN, STD, on_files=True)
        everything = torch.arange(len(images))

        def epoch() -> None:
            loading = EpochLoader(
                images,
                train,
                batch_size=64,
                num_workers=workers,
                persistent_workers=False,
                seed=0,
                n_per_epoch=len(images),
                before_epoch=lambda: (0, everything),
            )
            for batch in loading:
                train(batch.images, batch.draws)

        def extraction() -> None:
            for batch in feature_batches(images, features, everything, 64, workers):
                features(batch.images)

        network = torchvision.models.alexnet().to(memory_format=torch.channels_last)
        photographs = torch.randn(64, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)

        def step() -> None:
            network.train().zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                network(photographs).float().logsumexp(1).sum().backward()

        @torch.inference_mode()
        def forward() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                network.eval()(photographs)

        print(f"\nloader, {workers} workers, batches of 64, {len(images)} images x {rounds} rounds, bf16 AlexNet")
        facts: dict[str, list[tuple[float, float, float]]] = {"training": [], "features": []}
        forward()
        step()
        for _ in range(rounds):
            for name, work, compute in (("training", epoch, step), ("features", extraction, forward)):
                child, own = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
                work()
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                in_workers = after.ru_utime + after.ru_stime - child.ru_utime - child.ru_stime
                in_main = time.process_time() - own
                started = time.process_time()
                compute()
                on_network = (time.process_time() - started) / len(photographs)
                facts[name].append((in_workers / len(images), in_main / len(images), on_network))
        for name, rows in facts.items():
            in_workers, in_main, on_network = (1e3 * statistics.median(column) for column in zip(*rows, strict=True))
            share = (in_workers + in_main) / (in_workers + in_main + on_network)
            print(f"  {name}: {in_workers:.2f} ms an image in the workers, {in_main:.2f} in the main process")
            print(f"            {on_network:.2f} on the network; the loader takes {share:.0%} of the whole")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--n", type=int, default=48, help="mosaics of each size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loader", action="store_true", help="only the loader, with worker processes")
    parser.add_argument("--scaled", action="store_true", help="only reading.decode=scaled against full")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, Pillow {Image.__version__}, simplejpeg {'yes' if simplejpeg else 'no'}, ", end=""
    )
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if args.loader:
        loader(mosaics(args.root, 500, 375, args.n), args.rounds, args.workers)
        return
    if args.scaled:
        compare_scaled(mosaics(args.root, 500, 375, args.n), 500, 375, args.rounds)
        for width, height in ((2000, 1500), (4000, 3000)):
            compare_scaled(photographs(args.root, width, height, args.n), width, height, args.rounds)
        return
    for width, height, n in ((500, 375, args.n), (2000, 1500, max(4, args.n // 6))):
        compare(mosaics(args.root, width, height, n), width, height, args.rounds)


if __name__ == "__main__":
    main()
