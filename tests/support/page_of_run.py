"""A run of no epochs on a folder of plain pictures, one colour each, under names that pages have to escape."""

import colorsys
import os
from pathlib import Path

from hydra import compose, initialize_config_dir
from PIL import Image
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register
from deepcluster.run.train import train
from deepcluster.settings.train import train_config

NAMES = [
    "<script>document.title='broken'<script>.png",
    "<img src=x onerror=document.title='broken'>.png",
    """it's "quoted" & `ticked` ${1+1}.png""",
    "100% #1 a+b?c=d&e;f.png",
    "%2e%2e%2F.png",
    "back\\slash).png",
    " two  spaces .png",
    "new\nline.png",
    "é ü 漢字 🙂.png",
    "combining é.png",
    "<!--.png",
    "url(x.png');.png",
    os.fsdecode(b"not utf-8 \xff\xe9.png"),
]
N = 150


def colour(i: int) -> tuple[int, int, int]:
    """Of picture i: different for all, and more alike the nearer their numbers."""
    red, green, blue = colorsys.hsv_to_rgb(i / N, 0.4 + 0.5 * (i % 3) / 2, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def write_pictures(root: Path) -> dict[str, int]:
    """Write the pictures in two class folders; returns the number of each by its name."""
    numbers = {}
    for i in range(N):
        name = f"{'ab'[i % 2]} class/{NAMES[i] if i < len(NAMES) else f'{i}.png'}"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + i % 7, 36), colour(i)).save(root / name)
        numbers[name] = i
    return numbers


def run_with_page(folder: Path, *words: str) -> Path:
    """The run's folder, with page/ in it."""
    register()
    small = [f"data.root='{folder / 'photographs'}'", "data=folder", "view.size=32", "arch=lenet5", "reduction.dim=8"]
    rest = ["clustering.k=5", "evaluation.enabled=false", "trainer.max_epochs=0", "trainer=cpu"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        train(train_config(compose("train", [*small, *rest, *words])), folder / "run")
    return folder / "run"
