"""What huggingface.py and streamed.py find becomes a set: in the order of its identities, scanned, perhaps in memory.

The order is that of identities and not of storage because all that a run draws is by number: so the same images are
the same run, however they lie in shards. The price is that extraction reads rows at random, as training does anyway;
both sources map their files, and one read costs less than the decoding. Next: scan.py decodes them once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepcluster.data.cache import fingerprint
from deepcluster.data.decode import BrokenImage, channels_of
from deepcluster.data.images import ImageSet, evenly_spaced
from deepcluster.data.reading_settings import Reading
from deepcluster.data.scan import choose_check, scan
from deepcluster.data.settings import TableSource
from deepcluster.data.sources.identities import Identities, by_identity, first_repeated
from deepcluster.data.sources.rows import RowImages, Rows

LABEL_NAMES = ("label", "labels", "fine_label")
_N_PROBED = 64


@dataclass(kw_only=True)
class Table:
    """The rows of one split, in the order of storage.

    Args:
        store: gives the images.
        identities: N of them; they may repeat if they are hashes of the contents.
        labels: (N,) int64, -1 where there is none; None without labels.
        classes: the labels' names.
        fingerprint: changes when the files do.
    """

    store: Rows
    identities: Identities
    labels: Tensor | None
    classes: list[str] | None
    fingerprint: str


def table_images(table: Table, training: Table, settings: TableSource, reading: Reading, split: str) -> ImageSet:
    """The set that a table's rows are.

    Args:
        table: of the split.
        training: of the training split: its first images say how many channels both have.

    Raises:
        FileNotFoundError: if there are no rows.
        ValueError: from :func:`scan`.
    """
    for one in (training, table):
        if len(one.identities) == 0:
            raise FileNotFoundError(f"{settings.place}: the {split} split has no rows; choose another")
    samples, rows = _ordered(table, settings)
    labels = None if table.labels is None else table.labels[rows]
    if labels is not None and bool((labels < 0).all()):  # as test sets without public labels have them
        labels = None
    chosen = torch.tensor(evenly_spaced(len(rows), settings.limit))
    labelled = labels is not None and settings.labels == "auto"
    images = RowImages(
        store=table.store,
        rows=rows[chosen],
        samples=samples.take(chosen),
        n_channels=settings.n_channels or _probe_channels(training, settings),
        labels=labels[chosen] if labels is not None and labelled else None,
        classes=table.classes if labelled else None,
        fingerprint=fingerprint(settings.limit, settings.id, settings.image_column, table.fingerprint),
    )
    return scan(images, settings, reading, split, choose_check(images, reading))


def check_identities(of_column: Identities, settings: TableSource) -> None:
    """Refuse a column that does not tell the images apart.

    Raises:
        ValueError: naming a value that is there twice.
    """
    repeated = first_repeated(of_column)
    if repeated is not None:
        raise ValueError(
            f"data.id={settings.id}: {repeated!r} is there several times in {settings.place}, so it does not tell the "
            "images apart; choose another column, or data.id=content"
        )


def _ordered(table: Table, settings: TableSource) -> tuple[Identities, Tensor]:
    if settings.id == "position":
        return table.identities, torch.arange(len(table.identities))
    return by_identity(table.identities, table.labels)


def _probe_channels(training: Table, settings: TableSource) -> int:
    """1 if the first images are all grey, else 3, or what an array among them has."""
    for row in _ordered(training, settings)[1][:_N_PROBED].tolist():
        try:
            data = training.store.read(row)
            n_channels = channels_of(data) if isinstance(data, bytes) else data.shape[0]
        except BrokenImage:
            continue  # the scan reports it
        if n_channels != 1:
            return n_channels
    return 1
