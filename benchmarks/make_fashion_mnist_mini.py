"""Make the shipped subset of Fashion-MNIST: the first 500 training and 100 test images of every class.

    python -m benchmarks.make_fashion_mnist_mini DIR

DIR holds the four idx files: on Debian `apt-get install dataset-fashion-mnist` brings them, and torchvision downloads
the same ones. One version of numpy and zlib gives the same bytes each time;
tests/data/sources/test_archives.py compares its content.
"""

import argparse
from pathlib import Path

import numpy as np

from deepcluster.data.sources.archives import ASSET, fashion_mnist

N_PER_CLASS = {"train": 500, "test": 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds train-images-idx3-ubyte.gz and the other three")
    parser.add_argument("--out", type=Path, default=ASSET)
    arguments = parser.parse_args()
    arrays = {}
    for split, n_per_class in N_PER_CLASS.items():
        full = fashion_mnist(str(arguments.folder), split)
        assert full.labels is not None
        labels = full.labels.numpy()
        numbers = np.sort(np.concatenate([np.flatnonzero(labels == label)[:n_per_class] for label in range(10)]))
        arrays[f"{split}_images"] = full.images[numbers, 0].numpy()
        arrays[f"{split}_labels"] = labels[numbers].astype(np.uint8)
        arrays[f"{split}_numbers"] = numbers.astype(np.uint16)
    np.savez_compressed(arguments.out, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
