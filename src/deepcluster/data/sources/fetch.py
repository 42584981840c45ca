"""A set of litdata's in a bucket: each of its chunks is fetched once, into reading.cache_dir. Used by streamed.py."""

import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

from deepcluster.data import cache
from deepcluster.data.reading_settings import Reading
from deepcluster.data.sources.chunks import left_encoded, library, read_index

_N_FETCHING = 4
_log = logging.getLogger(__name__)


def fetched(url: str, cache_gb: float, reading: Reading) -> str:
    """The local folder with all chunks, fetched now or before.

    Raises:
        FileNotFoundError: if litdata cannot read the URL.
        ValueError: if data.cache_gb or the disk is too small.
    """
    folder = cache.folder_of(reading)
    if folder is None:
        raise ValueError(f"data.root={url} is fetched into reading.cache_dir, which is none; give a folder")
    name = blake2b(url.encode(), digest_size=8).hexdigest()
    folder = folder.absolute() / "litdata" / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        local, starts = _plan(url, folder, cache_gb)
    except (ValueError, ImportError):
        raise
    except Exception as error:  # of buckets' libraries, each its own
        raise FileNotFoundError(f"data.root={url} cannot be read by litdata: {error}") from error
    own = threading.local()

    def fetch(start: int) -> None:
        if not hasattr(own, "dataset"):
            own.dataset = _remote(url, folder)
            own.dataset[0:0]  # from here on whole chunks are fetched, not single rows
        own.dataset[start]

    if starts:
        _log.info("%s: fetching %s chunks into %s", url, f"{len(starts):,}", local)
        with ThreadPoolExecutor(_N_FETCHING) as executor:
            list(executor.map(fetch, starts))
    return local


def _plan(url: str, folder: Path, cache_gb: float) -> tuple[str, list[int]]:
    """Where the chunks go, and the first row of each that is not there yet."""
    dataset = _remote(url, folder)
    len(dataset)  # makes the folder and fetches the index
    local = Path(dataset.input_dir.path)
    index = read_index(local)
    n_bytes = sum(chunk["chunk_bytes"] for chunk in index["chunks"])
    if n_bytes > cache_gb * 1e9:
        raise ValueError(
            f"data.root={url} takes {n_bytes / 1e9:.3g} GB, data.cache_gb={cache_gb:g}: every batch draws "
            "from the whole set, so all chunks must fit; raise data.cache_gb (reading.cache_dir says where they go)"
        )
    starts, missing, start = [], 0, 0
    for chunk in index["chunks"]:
        file = local / chunk["filename"]
        if not file.is_file() or file.stat().st_size < chunk["chunk_bytes"]:
            starts.append(start)
            missing += chunk["chunk_bytes"]
        start += chunk["chunk_size"]
    free = shutil.disk_usage(local).free
    if missing > free:
        raise ValueError(
            f"data.root={url}: {missing / 1e9:.3g} GB are still to be fetched into {local}, where {free / 1e9:.3g} GB "
            "are free; choose another place with reading.cache_dir=DIR"
        )
    return str(local), starts


def _remote(url: str, folder: Path) -> Any:
    # No limit of litdata's own, which would delete chunks that are drawn from again: _plan has checked the size.
    return library().StreamingDataset(
        url, cache_dir=str(folder), max_cache_size="1000000GB", serializers=left_encoded()
    )
