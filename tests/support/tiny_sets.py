"""Tiny sets on disk in the forms that README and docs name: parquet tables, photographs, Fashion-MNIST's files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet
from reference.pictures import encoded, picture

N_CLASSES = 5


def write_tables(folder: Path, n_train: int = 120, n_test: int = 40, side: int = 32) -> Path:
    """CIFAR-10 in Hugging Face's layout: train-*.parquet and test-*.parquet with image{bytes, path} and label."""
    folder.mkdir(parents=True)
    for split, n in (("train", n_train), ("test", n_test)):
        images = [
            {"bytes": encoded(picture(i, side, side).convert("RGB"), "PNG"), "path": f"{split}/{i}.png"}
            for i in range(n)
        ]
        table = pyarrow.table({"image": images, "label": [i % N_CLASSES for i in range(n)]})
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


def write_photographs(folder: Path, n: int = 60) -> Path:
    """Colour JPEGs of 64 x 48 px in three class folders."""
    for i in range(n):
        file = folder / f"kind_{i % 3}" / f"{i:03}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(i, 48, 64).convert("RGB"), "JPEG"))
    return folder


def write_fashion_mnist(folder: Path, n_train: int = 120, n_test: int = 40) -> Path:
    """The four idx files of Fashion-MNIST, with random images of all ten classes."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split, n in (("train", n_train), ("t10k", n_test)):
        pixels = draw.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.arange(n, dtype=np.uint8) % 10
        images_head, labels_head = struct.pack(">IIII", 0x803, n, 28, 28), struct.pack(">II", 0x801, n)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images_head + pixels.tobytes()))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels_head + labels.tobytes()))
    return folder
