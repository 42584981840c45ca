"""data=litdata: sets that litdata's `optimize` wrote, in a local folder or in a bucket. Next: tables.py.

DeepCluster draws every batch from the whole set, and a chunk of 64 MB for one image would be fetched over and over.
So the chunks of a set in a bucket are fetched once, into reading.cache_dir, and read from there like a local folder's.
litdata's own sharding over processes is for iteration; here rows are asked for by number, and it has no part in that.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data import cache
from deepcluster.data.images import ImageSet
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Litdata, is_url
from deepcluster.data.sources.chunks import INDEX, Chunks, check_chunks, library, read_index
from deepcluster.data.sources.fetch import fetched
from deepcluster.data.sources.folder import SPLIT_FOLDERS
from deepcluster.data.sources.identities import Identities, content_identity, from_tensors, identities
from deepcluster.data.sources.items import fields, image_field, image_of, integer, label_field, listed
from deepcluster.data.sources.tables import Table, check_identities, table_images

_LAW = 1  # of remembered rows: raised when the same chunks would give others
_OWN = (None, "content", "position")  # what data.id may be, besides a field
_log = logging.getLogger(__name__)


def load_litdata(settings: Litdata, reading: Reading, split: str) -> ImageSet | None:
    """The images of a split, in the order of their identities; None if there is no test split.

    Layouts: data.root itself holds index.json and is the training set, or its folders train and test (val, ...) do;
    other folders by data.train_split and data.test_split. An item is an image, or a tuple or dict of fields with one:
    encoded bytes, a PIL image, or a uint8 array (H, W), (H, W, C) or (C, H, W).

    Raises:
        ImportError: if litdata is not installed.
        FileNotFoundError: if there are no chunks, or some are missing or cut.
        ValueError: if a set from a URL is larger than data.cache_gb or the disk, items hold pickles, or it cannot be
            told which field holds the images; from :func:`scan`.
    """
    places = _places(settings)
    place = places[split]
    if place is None:
        return None
    training = _table(places["train"] or "", "train", settings, reading)
    table = training if split == "train" else _table(place, split, settings, reading)
    return table_images(table, training, settings, reading, split)


def _places(settings: Litdata) -> dict[str, str | None]:
    """The folder or URL of each split."""
    root = settings.root
    chosen = {"train": settings.train_split, "test": settings.test_split}
    if is_url(root):  # what is there cannot be listed
        urls = {split: f"{root.rstrip('/')}/{name}" if name is not None else None for split, name in chosen.items()}
        return {"train": urls["train"] or root, "test": urls["test"]}
    folder = Path(root).absolute()
    places: dict[str, str | None] = {}
    for split, name in chosen.items():
        names = SPLIT_FOLDERS[split] if name is None else (name,)
        there = next((folder / each for each in names if (folder / each / INDEX).is_file()), None)
        if there is None and name is not None:
            raise FileNotFoundError(f"data.{split}_split={name}: {folder / name} has no {INDEX}")
        places[split] = None if there is None else str(there)
    if places["train"] is None and (folder / INDEX).is_file():
        places["train"] = str(folder)
    if places["train"] is None:
        what = "is not a folder" if not folder.is_dir() else f"has no {INDEX}, nor has its folder train"
        raise FileNotFoundError(f"data.root={root} {what}; give a folder that litdata's optimize wrote")
    return places


def _table(place: str, split: str, settings: Litdata, reading: Reading) -> Table:
    library()
    folder = Path(fetched(place, settings.cache_gb, reading) if is_url(place) else place)
    index = read_index(folder)
    check_chunks(folder, index)
    chunks = Chunks(folder=str(folder), n_chunks=len(index["chunks"]))
    facts = [index["chunks"], index["config"]["data_format"], settings.image_column, settings.label_column, settings.id]
    files = [(chunk["filename"], str(folder / chunk["filename"])) for chunk in index["chunks"]]
    fingerprint = cache.fingerprint(_LAW, *facts, files=files)
    n_rows = sum(chunk["chunk_size"] for chunk in index["chunks"])
    name, key = f"rows-{split}", cache.fingerprint(fingerprint)
    if n_rows:
        chunks.image_field = image_field(chunks.item(0), settings)
    entry = cache.read(settings, reading, name, key, of_root_only=True)
    if entry is None:
        ids, labels = _walk(chunks, n_rows, split, settings)
        entry = {**ids.tensors(), "labels": labels}
        cache.write(settings, reading, name, key, entry, of_root_only=True)
    labels = entry["labels"]
    ids = from_tensors(entry)
    if settings.id not in _OWN:
        check_identities(ids, settings)
    return Table(
        store=chunks,
        identities=ids,
        labels=labels if settings.labels == "auto" else None,
        classes=None,
        fingerprint=fingerprint,
    )


def _walk(chunks: Chunks, n_rows: int, split: str, settings: Litdata) -> tuple[Identities, Tensor | None]:
    """Identities and labels of all rows, read once in the order of storage."""
    _log.info("%s: reading %s rows once, for identities and labels", settings.place, f"{n_rows:,}")
    first = chunks.item(0) if n_rows else None
    label, id_field = label_field(first, settings), None
    if settings.id == "path" or (settings.id not in _OWN and settings.id not in map(str, fields(first))):
        raise ValueError(
            f"data.id={settings.id} is none of content, position and the fields of {settings.place}: {listed(first)}"
        )
    if settings.id not in _OWN:
        id_field = next(name for name in fields(first) if str(name) == settings.id)
    names: list[str] = []
    labels: list[int] = []
    for row in range(n_rows):
        item = chunks.item(row)
        if settings.id == "position":
            names.append(f"{split}/{row}")
        elif id_field is not None:
            names.append(str(integer(item[id_field]) if integer(item[id_field]) is not None else item[id_field]))
        else:
            names.append(content_identity(image_of(item, chunks.image_field)))
        if label is not None:
            number = integer(item[label])
            labels.append(-1 if number is None else number)
    return identities(names), torch.tensor(labels) if label is not None else None
