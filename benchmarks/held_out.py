"""Tune on training images only: every fifth is held out and plays the test set. The real test set is never read.

    python -m benchmarks.held_out --seeds 1 2 3 -- optimizer.lr=0.1 trainer.max_epochs=30

prints, for the settings after `--`, k-NN and probe accuracy of the untrained and the trained network on the held-out
images, for each seed and on average.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from deepcluster import config as configuration
from deepcluster import run
from deepcluster.data.images import MemoryImages
from deepcluster.data.settings import Data
from deepcluster.data.sources import load

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
NAMES = ("knn_accuracy", "linear_probe_accuracy", "nmi_labels")


def held_out(settings: Data, split: str) -> MemoryImages:
    """The training images without every fifth ("train"), or those ("test")."""
    images = load(settings, "train")
    assert isinstance(images, MemoryImages) and images.labels is not None, "needs labelled images in memory"
    fifth = torch.arange(len(images)) % 5 == 4
    rows = (fifth if split == "test" else ~fifth).nonzero()[:, 0]
    return MemoryImages(
        images=images.images[rows],
        samples=[images.samples[i] for i in rows.tolist()],
        labels=images.labels[rows],
        classes=images.classes,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    arguments = parser.parse_args()
    configuration.register()
    run.load = held_out  # type: ignore[assignment]
    gains: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    started = time.perf_counter()
    for seed in arguments.seeds:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("train", [*arguments.overrides, f"seed={seed}"])
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            summary = run.train(configuration.settings(cfg), Path(folder))
        for name in NAMES:
            gains[name].append((summary["untrained"][name], summary["trained"][name]))
    seconds = (time.perf_counter() - started) / len(arguments.seeds)
    print(f"{' '.join(arguments.overrides) or 'defaults'}  ({seconds:.0f} s a run)")
    for name, pairs in gains.items():
        each = "  ".join(f"{before:.3f}->{after:.3f}" for before, after in pairs)
        gain = statistics.mean(after - before for before, after in pairs)
        print(f"  {name:22} {statistics.mean(a for _, a in pairs):.4f}  gain {gain:+.4f}   {each}", flush=True)


if __name__ == "__main__":
    main()
