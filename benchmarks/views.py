"""What colours and blur cost: the strong view against the plain one, on batches in memory, in turns.

    OMP_NUM_THREADS=1 python -m benchmarks.views

Rates are images per second of processor time on one core; medians over rounds, and ratios to the plain view.
"""

import statistics
import time

import torch

from benchmarks.settings import parser
from deepcluster.data.augment import Augmentation
from deepcluster.data.views import TrainView

COLOURS = [0.8, 0.8, 0.8, 0.2]
WAYS = {
    "plain": None,
    "colour jitter": Augmentation(COLOURS, 0.8, 0.0, 0.0, [0.1, 2.0]),
    "blur": Augmentation([0] * 4, 0.0, 0.0, 0.5, [0.1, 2.0]),
    "strong": Augmentation(COLOURS, 0.8, 0.2, 0.5, [0.1, 2.0]),
}


def measure(size: int, batch_size: int, rounds: int, on_files: bool) -> None:
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    repeats = max(1, 2_000_000 // images.numel())
    for number in range(rounds + 1):  # the first warms up
        for way, augmentation in WAYS.items():
            options = {"on_files": on_files, "augmentation": augmentation}
            view = TrainView(size, [0.08, 1.0], [0.75, 4 / 3], True, [0.5] * 3, [0.25] * 3, **options)
            draws = view.draw(batch_size, torch.Generator().manual_seed(number))
            started = time.process_time()
            for _ in range(repeats):
                view(images, draws)
            if number:
                rates[way].append(repeats * batch_size / (time.process_time() - started))
    print(f"\n{size} px, batches of {batch_size}, {'cropped by workers' if on_files else 'cropped here'}")
    for way, measured in rates.items():
        ratio = statistics.median(b / a for a, b in zip(measured, rates["plain"], strict=True))
        rate = statistics.median(measured)
        print(f"  {way:14} {rate:8.0f} images/s per core ({1e3 / rate:.2f} ms an image), {ratio:5.1f} x plain's time")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=7, help="after one that is not counted")
    rounds = options.parse_args().rounds
    torch.set_num_threads(1)
    for size, batch_size, on_files in ((32, 64, False), (32, 256, False), (224, 64, True)):
        measure(size, batch_size, rounds=rounds, on_files=on_files)


if __name__ == "__main__":
    main()
