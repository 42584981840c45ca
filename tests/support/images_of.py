"""The settings of `data` and `reading` from one list of keys, as `load(*images_of("folder", root=...), "train")`."""

from dataclasses import fields
from typing import Any, NamedTuple

from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import SOURCES, Arrays, Source


class Settings(NamedTuple):
    """Which images, and how they are read."""

    data: Source
    reading: Reading


def images_of(source: str = "fashion_mnist_mini", **keys: Any) -> Settings:
    """The settings with these keys; nothing is remembered between runs unless `cache_dir` says where."""
    of_reading = {field.name for field in fields(Reading)} & keys.keys()
    of_data = {name: value for name, value in keys.items() if name not in of_reading}
    data = SOURCES.get(source, Arrays)(source=source, **of_data)
    return Settings(data, Reading(**{"cache_dir": "none", **{name: keys[name] for name in of_reading}}))
