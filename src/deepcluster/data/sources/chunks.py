"""litdata's chunks in a local folder: what their index says, and any row of theirs. Used by streamed.py."""

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from deepcluster.data.decode import BrokenImage, UnreadableImage
from deepcluster.data.sources.items import image_of
from deepcluster.system.extras import install_extra

INDEX = "index.json"
# litdata's types of fields that hold no code: "pickle" and "graph" are unpickled, which runs whatever is in them.
ENCODED = ("jpeg", "image", "file")  # left as they are for our decoder
_ARRAYS = ("pil", "numpy", "no_header_numpy", "tensor", "no_header_tensor")
SAFE = (*ENCODED, "bytes", *_ARRAYS, "int", "float", "bool", "str", "text", "json")
_N_MAPPED = 256  # chunks that a worker keeps open


def library() -> Any:
    """litdata.

    Raises:
        ImportError: if it is not installed.
    """
    os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")  # else each start asks PyPI for a newer version
    try:
        import litdata
    except ImportError as error:
        raise ImportError(f"data=litdata needs an extra: {install_extra('litdata')} ({error})") from error
    return litdata


@dataclass(kw_only=True)
class Chunks:
    """Rows of a local folder of chunks; each thread and process maps them for itself.

    Args:
        image_field: the key or number of the field with the image; None: the item is the image.
    """

    folder: str
    n_chunks: int
    image_field: str | int | None = None
    _own: threading.local = field(default_factory=threading.local, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "n_chunks": self.n_chunks, "image_field": self.image_field}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _own=threading.local())

    def item(self, row: int) -> Any:
        """What litdata holds under this number.

        Raises:
            BrokenImage: with the reason.
        """
        own = self._own
        if getattr(own, "process", None) != os.getpid():  # a forked worker shares no open file with its parent
            own.process = os.getpid()
            own.dataset = library().StreamingDataset(
                self.folder, serializers=left_encoded(), max_pre_download=min(self.n_chunks, _N_MAPPED)
            )
        try:
            return own.dataset[row]
        except OSError as error:
            raise UnreadableImage(f"cannot be read: {error.strerror or error}") from error
        except Exception as error:  # of damaged chunks litdata makes any
            raise BrokenImage(
                f"litdata cannot read row {row} of {self.folder}: {type(error).__name__}: {error}"
            ) from error

    def read(self, row: int) -> bytes | Tensor:
        """The row's image, see :func:`image_of`."""
        return image_of(self.item(row), self.image_field)


def left_encoded() -> dict[str, Any]:
    """litdata decodes JPEG by itself, without orientation and into colours; our decoder does it as for all files."""
    from litdata.streaming.serializers import BytesSerializer

    return {name: BytesSerializer() for name in ENCODED}


def read_index(folder: Path) -> dict[str, Any]:
    """What litdata wrote beside the chunks.

    Raises:
        ValueError: if it is damaged, or the items hold what is not safe to read.
    """
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_text())
        formats = [str(each).partition(":")[0] for each in index["config"]["data_format"]]
        len(index["chunks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / INDEX} is damaged or not litdata's: {error!r}") from error
    unsafe = [each for each in formats if each not in SAFE]
    if unsafe:
        raise ValueError(
            f"{folder} holds fields of type {', '.join(unsafe)}, which are not read: pickles run code. Write the set "
            f"again with fields of {', '.join(SAFE)}"
        )
    return index


def check_chunks(folder: Path, index: dict[str, Any]) -> None:
    """litdata would wait for a chunk that is not there.

    Raises:
        FileNotFoundError, ValueError: if one is missing or cut.
    """
    if index["config"].get("compression") or index["config"].get("encryption"):
        return  # litdata unpacks them elsewhere
    for chunk in index["chunks"]:
        file = folder / chunk["filename"]
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing; {INDEX} names it")
        if file.stat().st_size < chunk["chunk_bytes"]:
            raise ValueError(f"{file} is cut: {file.stat().st_size:,} bytes of {chunk['chunk_bytes']:,}")
