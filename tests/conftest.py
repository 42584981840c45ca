"""A folder of small image files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from reference.pictures import picture


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder(names, ...) writes a PNG under every name and gives the folder."""

    def make(names: list[str], mode: str = "RGB", height: int = 12, width: int = 10) -> Path:
        root = tmp_path / "images"
        for seed, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed, height, width).convert(mode).save(path, "PNG")
        return root

    return make
