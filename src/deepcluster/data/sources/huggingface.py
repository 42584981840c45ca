"""data=huggingface: sets of the hub by name, or of a local folder, read by the library datasets.

The library keeps them as Arrow files in its own cache ($HF_HOME) or reads them where they lie, and maps them: any row
at any time, from any worker. Next: tables.py puts them in order.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from deepcluster.data import cache
from deepcluster.data.images import ImageSet
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Huggingface
from deepcluster.data.sources.arrow_identities import ArrowRows, table_identities
from deepcluster.data.sources.columns import image_column, integers, is_text, label_column, read_column
from deepcluster.data.sources.tables import Table, table_images
from deepcluster.system.extras import install_extra

TEST_SPLITS = ("test", "validation", "val")
_LAW = 1  # of what is remembered: raised when the same table would give other identities or images


def load_huggingface(settings: Huggingface, reading: Reading, split: str) -> ImageSet | None:
    """The images of a split, in the order of their identities; None if there is no test split.

    Args:
        settings: data.name is a set of the hub; data.root a folder that `save_to_disk` wrote, or one that
            `load_dataset` reads: parquet, arrow or image files.

    Raises:
        ImportError: if the library is not installed.
        FileNotFoundError: if the set is not there and cannot be downloaded.
        ValueError: if it cannot be told which split, which column holds the images or the labels, or the identities
            repeat; from :func:`scan`.
    """
    splits = _open(settings.name, settings.root, settings.config, settings.revision)
    names = _split_names(list(splits), settings)
    name = names[split]
    if name is None:
        return None
    training = _table(splits, names, "train", settings, reading)
    table = training if split == "train" else _table(splits, names, split, settings, reading)
    return table_images(table, training, settings, reading, split)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"data=huggingface needs an extra: {install_extra('hf')} ({error})") from error
    return datasets


@lru_cache(maxsize=4)  # both splits are asked for, one after the other
def _open(name: str | None, root: str | None, config: str | None, revision: str | None) -> dict[str, Any]:
    """All splits by name."""
    datasets = _library()
    what = f"data.name={name}" if name is not None else f"data.root={root}"
    folder = None if root is None else Path(root).absolute()
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"{what} is not a folder")
    try:
        if folder is not None and any((folder / file).is_file() for file in ("dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(name or str(folder), config, revision=revision)
    except ConnectionError as error:  # no network, or HF_HUB_OFFLINE
        offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "the hub cannot be reached"
        raise FileNotFoundError(
            f"{what} is not in the library's cache and {offline}: connect once, or give a copy of it as data.root=DIR "
            "(a folder that save_to_disk wrote, or parquet files)"
        ) from error
    except FileNotFoundError as error:  # DatasetNotFoundError, EmptyDatasetError and DataFilesNotFoundError too
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileNotFoundError(f"{what}: {why}") from error
    # LookupError: of save_to_disk's folders, without a row or with damaged descriptions
    except (datasets.exceptions.DatasetsError, pa.ArrowInvalid, ValueError, LookupError) as error:
        cause = error.__cause__ or error
        why = (str(cause).splitlines() or [type(cause).__name__])[0]
        why = f"{type(cause).__name__}: {why} (has it rows?)" if isinstance(cause, LookupError) else why
        raise ValueError(f"{what} cannot be read by the library datasets: {why}") from error
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


def _split_names(there: list[str], settings: Huggingface) -> dict[str, str | None]:
    """Which split to learn from and which to test on."""
    names: dict[str, str | None] = {}
    for split, chosen in (("train", settings.train_split), ("test", settings.test_split)):
        if chosen is not None and chosen not in there:
            raise ValueError(f"data.{split}_split={chosen}: {settings.place} has the splits {', '.join(there)}")
        names[split] = chosen
    if names["train"] is None:
        if "train" not in there and len(there) != 1:
            raise ValueError(
                f"{settings.place} has the splits {', '.join(there)}; say which to learn from: data.train_split=NAME"
            )
        names["train"] = "train" if "train" in there else there[0]
    if names["test"] is None:
        names["test"] = next((name for name in TEST_SPLITS if name in there and name != names["train"]), None)
    return names


def _table(
    splits: dict[str, Any], names: dict[str, str | None], split: str, settings: Huggingface, reading: Reading
) -> Table:
    name = names[split]
    assert name is not None
    dataset = splits[name]
    column = image_column(dataset.features, settings)
    labels, classes = _labels(splits, names, split, settings) if settings.labels == "auto" else (None, None)
    images = dataset
    if isinstance(dataset.features[column], _library().Image):
        images = dataset.cast_column(column, _library().Image(decode=False))  # the bytes as they are
    images = images.select_columns([column]).with_format("arrow")
    files = [(os.path.basename(file["filename"]), file["filename"]) for file in dataset.cache_files]
    fingerprint = cache.fingerprint(_LAW, column, name, len(dataset), files=files)
    return Table(
        store=ArrowRows(images=images),
        identities=table_identities(dataset, images, settings, reading, split, fingerprint),
        labels=labels,
        classes=classes,
        fingerprint=fingerprint,
    )


def _labels(
    splits: dict[str, Any], names: dict[str, str | None], split: str, settings: Huggingface
) -> tuple[Tensor | None, list[str] | None]:
    """(N,) int64, -1 where there is none, and the labels' names."""
    dataset = splits[names[split] or ""]
    column = label_column(dataset.features, settings)
    if column is None:
        return None, None
    feature = dataset.features[column]
    if not is_text(feature):
        return torch.from_numpy(integers(read_column(dataset, column))), getattr(feature, "names", None)
    both = [splits[name] for name in names.values() if name is not None and column in splits[name].features]
    classes = sorted({text for one in both for text in one.unique(column) if text is not None})
    numbers = pc.index_in(read_column(dataset, column).cast(pa.large_string()), pa.array(classes, pa.large_string()))
    return torch.from_numpy(integers(numbers)), classes
