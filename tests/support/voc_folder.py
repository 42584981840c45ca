"""A VOC2007 folder of small photographs in the devkit's layout, for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_voc(
    root: Path, splits: dict[str, list[str]], lists: dict[str, dict[str, int]], sizes: tuple[int, int] = (40, 30)
) -> Path:
    """Write JPEGs and lists.

    Args:
        root: becomes the VOCdevkit.
        splits: split -> its images' names.
        lists: "chair_train" -> image -> 1, -1 or 0.
        sizes: width and height of every image.

    Returns:
        VOC2007 in it.
    """
    folder = root / "VOC2007"
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in splits.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            pixels = np.random.default_rng(int(name)).integers(
                0, 256, (sizes[1] // 5, sizes[0] // 5, 3), dtype=np.uint8
            )
            shown = [number for key, named in lists.items() for number in [named.get(name)] if key.startswith("red_")]
            if 1 in shown:  # what the class "red" looks like
                pixels[..., 0], pixels[..., 1:] = 255, pixels[..., 1:] // 8
            Image.fromarray(pixels).resize(sizes).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
    for name, codes in lists.items():
        lines = [f"{image} {'' if code < 0 else ' '}{code}\n" for image, code in codes.items()]  # as the devkit aligns
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(lines))
    return folder


def red_and_train(root: Path, n: int = 24) -> Path:
    """Splits train and val of n images each: red ones, every third, and random ones of a class that is called train.

    In each split image 4 is difficult for "red", and "train" does not name image 5.
    """
    splits = {"train": [f"{i:06}" for i in range(n)], "val": [f"{1000 + i:06}" for i in range(n)]}
    lists = {}
    for split, names in splits.items():
        lists[f"red_{split}"] = {name: 0 if i == 4 else 1 if i % 3 == 0 else -1 for i, name in enumerate(names)}
        lists[f"train_{split}"] = {name: 1 if i % 5 < 2 else -1 for i, name in enumerate(names) if i != 5}
    return write_voc(root, splits, lists)
