"""A folder of small image files; composed configs; signal handlers that outlast no test."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from reference.pictures import picture
from support import composing
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register

composing.register_once()
composing.read_configs_once()


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A run in pytest's own process sets handlers (stop_signals.py)."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def composer() -> Iterator[None]:
    """hydra.compose reads configs/, as train.py does."""
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        yield


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
