"""Where what was found out about files is remembered."""

from pathlib import Path

import pytest

from deepcluster.data import cache
from deepcluster.data.reading_settings import Reading


def test_without_a_home_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `docker run --user 12345`."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert cache.folder_of(Reading()) is None
    assert cache.folder_of(Reading(cache_dir="there")) == Path("there")
