"""The group `data`: which images. Next: sources/load.py loads them, as reading_settings.py says."""

from dataclasses import asdict, dataclass
from typing import Any

from deepcluster.data.reading_settings import Reading
from deepcluster.system.setting import check, setting

TABLE_SOURCES = ("huggingface", "litdata")  # those of named fields, whose images are ordered by identity
FILE_SOURCES = ("folder", "parquet", *TABLE_SOURCES)
SOURCES = ("fashion_mnist_mini", "fashion_mnist", "cifar10", "cifar100", "svhn", "stl10", *FILE_SOURCES)
_OF_TABLES = ("train_split", "test_split", "image_column", "label_column", "id")
_OF_HUGGINGFACE = ("name", "config", "revision")


@dataclass(kw_only=True)
class Data:
    """Which images are read.

    Args:
        source: one of `SOURCES`.
        root: the folder that holds the source's files; downloads go there. The shipped subset needs none. litdata:
            also a URL (s3://, gs://, ...).
        name: huggingface: the set's name on the hub, such as uoft-cs/cifar10, in place of data.root.
        config: huggingface: which configuration of the set, if it has several.
        revision: huggingface: which version of the set (a branch, tag or commit); None: the newest.
        train_split: huggingface, litdata: the split to learn from; None: train, or the only one.
        test_split: the split to test on; None: test, validation or val, where there is one.
        image_column: huggingface, litdata: the field with the images; None: the only one that holds some.
        label_column: the field with the labels; None: the only ClassLabel, else one named label or labels.
        id: huggingface, litdata: what tells one image from another, whatever the order of the shards: "path" in the
            image column, "content" (a hash of its bytes), any field of the table that differs for each image, or
            "position", which is only good as long as the shards stay as they are. None: the path if there is one
            and all differ, else the content.
        cache_gb: litdata from a URL: how many GB (1e9 bytes) of chunks of one split reading.cache_dir may hold. An
            epoch draws from all of the set, so all of it must fit; each chunk is fetched once.
        labels: "auto" keeps labels for reporting where the source has them, "none" ignores them.
        n_channels: any number. From image files: 1 grey, 2 grey and alpha, 3 colours, 4 colours and alpha (opaque
            where a file has none); any other number, and channels that are no colours, need .npy arrays (H, W, C),
            all with that number. None: what the source has (files: that of the first array among them, else 1 if the
            first ones are all grey, else 3).
        limit: use only so many images of each split, evenly spaced; for trials.
    """

    source: str = setting("fashion_mnist_mini", one_of=SOURCES)
    root: str | None = setting(None, may_change=True)
    name: str | None = None
    config: str | None = None
    revision: str | None = None
    train_split: str | None = None
    test_split: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    id: str | None = None
    cache_gb: float = setting(200.0, above=0, may_change=True)
    labels: str = setting("auto", one_of=("auto", "none"))
    n_channels: int | None = setting(None, at_least=1)
    limit: int | None = setting(None, at_least=2)

    def __post_init__(self) -> None:
        check(self, "data")
        if self.n_channels is not None and self.n_channels > 4 and self.source not in FILE_SOURCES:
            raise ValueError(
                f"data.n_channels={self.n_channels} needs .npy arrays with so many channels (data.source=folder), "
                f"data.source={self.source} has colours or grey: 1 to 4; leave it out to find it"
            )
        self._check_source()

    @property
    def place(self) -> str:
        """What the images are called by: for messages."""
        return f"data.name={self.name}" if self.name is not None else f"data.root={self.root}"

    @property
    def which(self) -> dict[str, Any]:
        """What tells which images these are: for hashes of images."""
        return {name: value for name, value in asdict(self).items() if name != "cache_gb"}

    def check_reading(self, reading: Reading) -> None:
        """Refuse what cannot be read so.

        Raises:
            ValueError: naming both.
        """
        if reading.in_memory == "never" and self.source not in FILE_SOURCES:
            raise ValueError(
                f"reading.in_memory=never is for {' and '.join(FILE_SOURCES)}, data.source={self.source} "
                "comes as one array; set reading.in_memory=auto"
            )

    def _check_source(self) -> None:
        for sources, names in ((TABLE_SOURCES, _OF_TABLES), (("huggingface",), _OF_HUGGINGFACE)):
            given = next((name for name in names if getattr(self, name) is not None), None)
            if self.source not in sources and given is not None:
                raise ValueError(
                    f"data.{given}={getattr(self, given)} is for data={' and data='.join(sources)}, data.source="
                    f"{self.source} has nothing of the kind; leave it out"
                )
        if self.source == "huggingface" and (self.name is None) == (self.root is None):
            raise ValueError(
                "data=huggingface needs either data.name=OWNER/SET, a set of the hub, or data.root=DIR, a local folder "
                f"(of save_to_disk, parquet, arrow or image files); got data.name={self.name} and data.root={self.root}"
            )
