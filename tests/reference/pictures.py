"""Small pictures and their encodings, to write files from."""

import io

import numpy as np
from PIL import Image


def picture(seed: int, height: int = 12, width: int = 10) -> Image.Image:
    """A smooth random picture, so that lossy formats keep it nearly as it is."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
