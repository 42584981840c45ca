"""A VOC2007 folder with boxes and masks, for tests: each picture shows one square, a red car or a blue dog."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from deepcluster.evaluation.voc07.classes import CLASSES

RED, BLUE = (220, 40, 40), (40, 40, 220)
Object = tuple[str, tuple[float, float, float, float], int]  # class, xmin to ymax as VOC counts, difficult


def write_annotation(file: Path, size: tuple[int, int], objects: Sequence[Object]) -> None:
    """An annotation with these objects; size: width and height."""
    lines = ["<annotation>", f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"]
    for name, box, difficult in objects:
        edges = "".join(f"<{e}>{v:g}</{e}>" for e, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        part = "<part><name>head</name><bndbox><xmin>9000</xmin></bndbox></part>"  # of another task
        lines.append(
            f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{edges}</bndbox>{part}</object>"
        )
    file.write_text("\n".join([*lines, "</annotation>"]))


def write_squares(root: Path, n_train: int = 12, n_val: int = 8) -> Path:
    """Splits train and val of both tasks; pictures of 64 x 48, annotated at twice their size. Returns VOC2007."""
    folder = root / "VOC2007"
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    names = [f"{i:06}" for i in range(n_train + n_val)]
    for split, of_split in (("train", names[:n_train]), ("val", names[n_train:])):
        for task in ("Main", "Segmentation"):
            (folder / "ImageSets" / task / f"{split}.txt").write_text("".join(f"{name}\n" for name in of_split))
    for i, name in enumerate(names):
        random = np.random.default_rng(i)
        label = ("car", "dog")[i % 2]
        side = int(random.integers(18, 28))
        left, top = int(random.integers(1, 63 - side)), int(random.integers(1, 47 - side))
        pixels = random.integers(90, 130, (48, 64, 3), dtype=np.uint8)
        pixels[top : top + side, left : left + side] = RED if label == "car" else BLUE
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
        box = (2 * left + 1, 2 * top + 1, 2 * (left + side), 2 * (top + side))
        write_annotation(folder / "Annotations" / f"{name}.xml", (128, 96), [(label, box, 0)])
        mask = np.zeros((48, 64), dtype=np.uint8)
        mask[top - 1 : top + side + 1, left - 1 : left + side + 1] = 255
        mask[top : top + side, left : left + side] = 1 + CLASSES.index(label)
        palette = Image.fromarray(mask, mode="P")
        palette.putpalette([i for i in range(256) for _ in range(3)])
        palette.save(folder / "SegmentationClass" / f"{name}.png")
    return folder
