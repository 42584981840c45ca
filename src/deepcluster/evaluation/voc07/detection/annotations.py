"""Reads VOC's boxes: Annotations/000005.xml. Next: detector.py.

A box counts its edge pixels from 1, both ends included. Here boxes are (left, top, right, bottom) of continuous edges,
(xmin - 1, ymin - 1, xmax, ymax): so width and overlap are what the development kit computes with its "+ 1".
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.evaluation.voc07.classes import CLASSES
from deepcluster.evaluation.voc07.pictures import PictureSplit, check_shape

FOLDER = "Annotations"
EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(kw_only=True)
class Annotation:
    """The n objects of a picture.

    Args:
        width, height: of the annotated original, in whose pixels the boxes are; the picture at hand may be smaller.
        boxes: (n, 4) float32.
        labels: (n,) int64, places in CLASSES.
        difficult: (n,) bool: neither hit nor miss, and not learned from.
    """

    width: int
    height: int
    boxes: Tensor
    labels: Tensor
    difficult: Tensor

    def scaled_boxes(self, height: int, width: int, mirrored: bool) -> Tensor:
        """The boxes (n, 4) in the pixels of a picture of this size, which may be mirrored."""
        boxes = self.boxes * self._scale(height, width)
        return mirror(boxes, width) if mirrored else boxes

    def original_boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """Boxes (m, 4) found in a picture of this size, in the original's pixels."""
        return boxes / self._scale(height, width)

    def _scale(self, height: int, width: int) -> Tensor:
        x, y = width / self.width, height / self.height
        return torch.tensor([x, y, x, y])


def mirror(boxes: Tensor, width: float) -> Tensor:
    """Boxes (n, 4) of a picture whose left is its right."""
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([width - right, top, width - left, bottom], 1)


def read_annotations(split: PictureSplit) -> list[Annotation]:
    """The annotations of a split's pictures.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one cannot be read or does not fit its picture; names it.
    """
    annotations = []
    for i, file in enumerate(split.beside(FOLDER, ".xml")):
        annotation = read_annotation(file)
        check_shape(Path(split.images.path(i)), (annotation.width, annotation.height), file)
        annotations.append(annotation)
    return annotations


def read_annotation(file: Path) -> Annotation:
    """The objects of one picture.

    Raises:
        ValueError: if the file is damaged, an object's class is unknown or a box lies outside of the picture.
    """
    try:
        root = ET.parse(file).getroot()
        width, height = (_number(root, f"size/{side}") for side in ("width", "height"))
        objects = [
            (
                str(each.findtext("name")).strip(),
                [_number(each, f"bndbox/{edge}") for edge in EDGES],
                (each.findtext("difficult") or "0").strip() == "1",
            )
            for each in root.findall("object")
        ]
    except (ET.ParseError, OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as an annotation ({error}); unpack it again") from error
    for name, box, _ in objects:
        _check(file, name, box, width, height)
    edges = torch.tensor([box for _, box, _ in objects], dtype=torch.float32).view(-1, 4)
    return Annotation(
        width=int(width),
        height=int(height),
        boxes=edges - torch.tensor([1.0, 1.0, 0.0, 0.0]),
        labels=torch.tensor([CLASSES.index(name) for name, _, _ in objects], dtype=torch.int64),
        difficult=torch.tensor([difficult for _, _, difficult in objects], dtype=torch.bool),
    )


def _number(element: ET.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"it has no {path}")
    return float(text)


def _check(file: Path, name: str, box: Sequence[float], width: float, height: float) -> None:
    if name not in CLASSES:
        raise ValueError(f"{file} has an object of the class {name!r}, VOC has {', '.join(CLASSES)}; correct it")
    left, top, right, bottom = box
    if not (1 <= left <= right <= width and 1 <= top <= bottom <= height):
        edges = ", ".join(f"{edge}={value:g}" for edge, value in zip(EDGES, box, strict=True))
        raise ValueError(
            f"{file}: the box {edges} of a {name} lies outside of the picture's {width:g} x {height:g} pixels (counted "
            "from 1); correct it"
        )
