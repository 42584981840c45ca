"""The group `data`: which images; each kind of source has its own settings. Next: sources/load.py loads them."""

import os
from dataclasses import dataclass, field, fields
from typing import Any

from deepcluster.data.reading_settings import Reading
from deepcluster.system.setting import IS_PATH, MAY_CHANGE, check, setting

SHIPPED = "fashion_mnist_mini"  # the set that the package holds
ARRAYS = (SHIPPED, "fashion_mnist", "cifar10", "cifar100", "svhn", "stl10")
# The keys that every source had before each kind had its own: hashes of images still name them all, as they did.
_ONCE_FOR_ALL = (
    "source", "root", "name", "config", "revision", "train_split", "test_split", "image_column", "label_column", "id",
    "labels", "n_channels", "limit",
)  # fmt: skip


@dataclass(kw_only=True)
class Source:
    """Which images are read.

    Args:
        source: the kind, by which a stored config finds its class.
        root: the folder that holds the source's files.
        labels: "auto" keeps labels for reporting where the source has them, "none" ignores them.
        n_channels: any number. From image files: 1 grey, 2 grey and alpha, 3 colours, 4 colours and alpha (opaque
            where a file has none); with 1 and 3 transparent images lie on white paper. Any other number, and channels
            that are no colours, need .npy arrays (H, W, C), all with that number. None: what the source has (files:
            that of the first array among them, else 1 if the first ones are all grey, else 3).
        limit: use only so many images of each split, evenly spaced; for trials.
    """

    source: str
    root: str | None = field(metadata={MAY_CHANGE: True, IS_PATH: True})
    labels: str = setting("auto", one_of=("auto", "none"))
    n_channels: int | None = setting(None, at_least=1)
    limit: int | None = setting(None, at_least=2)

    def __post_init__(self) -> None:
        check(self, "data")

    @property
    def place(self) -> str:
        """What the images are called by: for messages."""
        return f"data={self.source}" if self.root is None else f"data.root={self.root}"

    @property
    def reads_root(self) -> bool:
        """Whether it reads anything in data.root."""
        return True

    @property
    def files(self) -> tuple[object, ...]:
        """What tells which files are read: for the names of cache entries."""
        return self.source, os.path.realpath(self.root or "")

    @property
    def which(self) -> dict[str, Any]:
        """What tells which images these are: for hashes of images."""
        return {**dict.fromkeys(_ONCE_FOR_ALL), **{key.name: getattr(self, key.name) for key in fields(self)}}

    def check_reading(self, reading: Reading) -> None:
        """Refuse what cannot be read so.

        Raises:
            ValueError: naming both.
        """


@dataclass(kw_only=True)
class Arrays(Source):
    """A well-known set that comes as one array: the shipped subset, Fashion-MNIST's files, or one of torchvision's.

    Args:
        source: one of `ARRAYS`.
        root: the folder that holds the set's files; downloads go there. The shipped subset needs none.
    """

    source: str = setting(SHIPPED, one_of=ARRAYS, hint="data=OPTION chooses other kinds")
    root: str | None = setting(None, may_change=True, is_path=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_channels is not None and self.n_channels > 4:
            raise ValueError(
                f"data.n_channels={self.n_channels} needs .npy arrays with so many channels (data=folder), "
                f"data={self.source} has colours or grey: 1 to 4; leave it out to find it"
            )

    @property
    def reads_root(self) -> bool:
        return self.source != SHIPPED

    def check_reading(self, reading: Reading) -> None:
        if reading.in_memory == "never":
            raise ValueError(
                f"reading.in_memory=never is for images in files, data={self.source} comes as one array; "
                "set reading.in_memory=auto"
            )


@dataclass(kw_only=True)
class RootedSource(Source):
    """A source that has no images without data.root."""

    root: str = field(metadata={MAY_CHANGE: True, IS_PATH: True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is None:  # data.root=null
            raise ValueError(f"data={self.source} needs data.root=DIR, where its files are")


@dataclass(kw_only=True)
class Folder(RootedSource):
    """Image files in a folder.

    Args:
        source: "folder".
        root: the folder.
    """

    source: str = "folder"


@dataclass(kw_only=True)
class Parquet(RootedSource):
    """Parquet files of encoded images, as the Hugging Face hub has them.

    Args:
        source: "parquet".
        root: the folder that holds them.
    """

    source: str = "parquet"


@dataclass(kw_only=True)
class TableSource(Source):
    """Rows of named fields, whose images are ordered by identity.

    Args:
        train_split: the split to learn from; None: train, or the only one.
        test_split: the split to test on; None: test, validation or val, where there is one.
        image_column: the field with the images; None: the only one that holds some.
        label_column: the field with the labels; None: the only ClassLabel, else one named label or labels.
        id: what tells one image from another, whatever the order of the shards: "path" in the image column, "content"
            (a hash of its bytes), any field of the table that differs for each image, or "position", which is only
            good as long as the shards stay as they are. None: the path if there is one and all differ, else the
            content.
    """

    train_split: str | None = None
    test_split: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    id: str | None = None

    @property
    def files(self) -> tuple[object, ...]:
        name, config = self.which["name"], self.which["config"]  # None but for Hugging Face's
        return *super().files, name, config, self.train_split, self.test_split


@dataclass(kw_only=True)
class Huggingface(TableSource):
    """A set of the Hugging Face hub, or a local folder that its library reads.

    Args:
        source: "huggingface".
        root: the folder (of save_to_disk, parquet, arrow or image files), in place of `name`.
        name: the set's name on the hub, such as uoft-cs/cifar10.
        config: which configuration of the set, if it has several.
        revision: which version of the set (a branch, tag or commit); None: the newest.
    """

    source: str = "huggingface"
    root: str | None = setting(None, may_change=True, is_path=True)
    name: str | None = None
    config: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.name is None) == (self.root is None):
            raise ValueError(
                "data=huggingface needs either data.name=OWNER/SET, a set of the hub, or data.root=DIR, a local folder "
                f"(of save_to_disk, parquet, arrow or image files); got data.name={self.name} and data.root={self.root}"
            )

    @property
    def place(self) -> str:
        return f"data.name={self.name}" if self.name is not None else super().place


@dataclass(kw_only=True)
class Litdata(RootedSource, TableSource):
    """Chunks that litdata's `optimize` wrote.

    Args:
        source: "litdata".
        root: their folder, or its URL (s3://, gs://, ...).
        cache_gb: from a URL: how many GB (1e9 bytes) of chunks of one split reading.cache_dir may hold. An epoch draws
            from all of the set, so all of it must fit; each chunk is fetched once.
    """

    source: str = "litdata"
    cache_gb: float = setting(200.0, above=0, may_change=True)

    @property
    def which(self) -> dict[str, Any]:
        return {name: value for name, value in super().which.items() if name != "cache_gb"}


SOURCES: dict[str, type[Source]] = {
    **dict.fromkeys(ARRAYS, Arrays),
    "folder": Folder,
    "parquet": Parquet,
    "huggingface": Huggingface,
    "litdata": Litdata,
}


def is_url(root: str) -> bool:
    """Whether data.root has to be fetched."""
    return "://" in root or root.startswith("local:")  # litdata's own, for tests: a folder that is treated as a bucket
