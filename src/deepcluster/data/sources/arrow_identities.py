"""Who the images of a Hugging Face set are: their paths, a column, or a hash of their contents. Next: tables.py."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepcluster.data import cache
from deepcluster.data.decode import BrokenImage, UnreadableImage, read_file
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Huggingface
from deepcluster.data.sources.columns import is_integer, is_text, read_column
from deepcluster.data.sources.identities import Identities, content_identity, from_tensors, identities
from deepcluster.data.sources.tables import check_identities

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class ArrowRows:
    """Encoded images in the one column of a set of the library, in its Arrow format."""

    images: Any

    def read(self, row: int) -> bytes:
        """The row's bytes, from the table or from the file that it names.

        Raises:
            BrokenImage: if the row holds no image; UnreadableImage if that file cannot be read.
        """
        value = self.images[row].column(0)[0].as_py()
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if data is not None:
            return bytes(data)
        if not path:
            raise BrokenImage(f"row {row} (from 0) holds no image")
        return read_file(path)


def table_identities(
    dataset: Any, images: Any, settings: Huggingface, reading: Reading, split: str, fingerprint: str
) -> Identities:
    """What data.id says; hashes may repeat, all else may not.

    Args:
        dataset: the split with all its columns.
        images: the same rows, of :class:`ArrowRows`.
        fingerprint: of the files, under which hashes are remembered.

    Raises:
        ValueError: if data.id is no column, or does not tell the images apart.
    """
    if settings.id == "position":
        return identities([f"{split}/{i}" for i in range(len(dataset))])
    if settings.id not in (None, "path", "content"):
        if settings.id not in dataset.features:
            raise ValueError(
                f"data.id={settings.id} is none of path, content, position and the columns of {settings.place}: "
                f"{', '.join(dataset.features)}"
            )
        values, kind = read_column(dataset, settings.id), dataset.features[settings.id]
        if values.null_count or not (is_integer(kind) or is_text(kind)):
            raise ValueError(f"data.id={settings.id} must hold text or integers and no nulls; or set data.id=content")
        values_of_column = identities(values)
        check_identities(values_of_column, settings)
        return values_of_column
    if settings.id != "content":
        paths = _paths(images, settings.root)
        if paths is not None:
            return paths
        if settings.id == "path":
            raise ValueError(
                f"data.id=path: the images of {settings.place} have no paths, or some have the same; leave it out, "
                "which takes their contents, or name a column that tells them apart"
            )
    return _contents(images, settings, reading, split, fingerprint)


def _paths(images: Any, root: str | None) -> Identities | None:
    """The images' paths, relative to data.root; None if some have none, or one that is not theirs for good."""
    column = images.column_names[0]
    kind = images.features.arrow_schema.field(column).type
    if len(images) == 0 or not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return None
    paths = read_column(images, column, "path")
    if paths.null_count or bool(pc.any(pc.equal(paths, "")).as_py()):
        return None
    if bool(pc.any(pc.starts_with(paths, "/")).as_py()) or any(map(os.path.isabs, paths[:1].to_pylist())):
        # where this machine has the files
        prefix = str(Path(root or "/").absolute()).rstrip(os.sep) + os.sep
        if root is None or not bool(pc.all(pc.starts_with(paths, prefix)).as_py()):
            return None
        paths = pc.utf8_slice_codeunits(paths, len(prefix))
    return None if int(pc.count_distinct(paths).as_py()) < len(paths) else identities(paths)


def _contents(images: Any, settings: Huggingface, reading: Reading, split: str, fingerprint: str) -> Identities:
    """Hashes of the encoded images; computed once, in the order of storage, and remembered."""
    name, key = f"identities-{split}", cache.fingerprint("content", fingerprint)
    entry = cache.read(settings, reading, name, key, of_root_only=True)
    if entry is not None:
        return from_tensors(entry)
    _log.info("%s: hashing %s images once, to tell them apart in any order", settings.place, f"{len(images):,}")
    store = ArrowRows(images=images)

    def content(row: int) -> bytes:
        try:
            return store.read(row)
        except UnreadableImage:
            raise
        except BrokenImage:  # without an image; scan.py will tell it
            return b""

    hashes = identities([content_identity(content(row)) for row in range(len(images))])
    cache.write(settings, reading, name, key, hashes.tensors(), of_root_only=True)
    return hashes
