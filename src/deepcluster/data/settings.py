"""The group `data`: which images, and how they are read. Next: sources/load.py loads them; view_settings.py."""

from dataclasses import dataclass, replace

from deepcluster.system.setting import check, setting

TABLE_SOURCES = ("huggingface", "litdata")  # those of named fields, whose images are ordered by identity
FILE_SOURCES = ("folder", "parquet", *TABLE_SOURCES)
SOURCES = ("fashion_mnist_mini", "fashion_mnist", "cifar10", "cifar100", "svhn", "stl10", *FILE_SOURCES)
_OF_TABLES = ("train_split", "test_split", "image_column", "label_column", "id")
_OF_HUGGINGFACE = ("name", "config", "revision")
# How images are read, not which they are.
HOW_READ = (
    "num_workers",
    "persistent_workers",
    "in_memory",
    "memory_gb",
    "check",
    "cache_dir",
    "cache_gb",
    "timeout_s",
)


@dataclass(kw_only=True)
class Data:
    """Which images are read, and how.

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
        cache_gb: litdata from a URL: how many GB (1e9 bytes) of chunks of one split data.cache_dir may hold. An
            epoch draws from all of the set, so all of it must fit; each chunk is fetched once.
        decode: "full", or "scaled": a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where a view shrinks it as much
            anyway, never so small that it would have to be enlarged.
            From 12 megapixels on that takes about half the time. Crops are the same regions; their pixels differ by 1
            to 3 of 255 grey levels, which moves features, so a network should see all images in one way.
        batch_size: images per training batch and process.
        num_workers: reading processes; None: 0 for sets in memory, else one per core, at most 8.
        persistent_workers: keep the reading processes from epoch to epoch.
        in_memory: encoded images: "auto" keeps them decoded in memory if they fit, "always" demands it, "never"
            decodes at each access.
        memory_gb: how many GB (1e9 bytes) the images of one split may take.
        stored_size: side of the square to which images are brought when they are kept in memory (short side
            resized, centre cropped); None: they are kept as they are, if all have one size.
        check: which encoded images are decoded before the training, to find broken ones: "all", "sample" (2,000,
            evenly spaced), "none"; "auto" takes all of up to 200,000 and of those that fit into memory, a sample of
            more.
        on_broken: "error" stops when images cannot be decoded. "skip" leaves out those that are found before the
            training (check "all"); one that is met later is shown in mid-grey, so that the set keeps its size, and
            named in the log. A file that is gone stops the run in any case.
        timeout_s: folder: the longest, in seconds, that one image may take to come from the disk, and a batch from the
            reading processes; then the run stops and names it. null waits for ever.
        labels: "auto" keeps labels for reporting where the source has them, "none" ignores them.
        cache_dir: where scans, decoded sets and statistics of files are remembered; None: the user's cache
            folder ($XDG_CACHE_HOME or ~/.cache, /deepcluster); "none": nothing is remembered.
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
    cache_gb: float = setting(200.0, above=0)
    decode: str = setting("full", one_of=("full", "scaled"))
    batch_size: int = setting(64, at_least=2)
    num_workers: int | None = setting(None, at_least=0, may_change=True)
    persistent_workers: bool = setting(False, may_change=True)
    in_memory: str = setting("auto", one_of=("auto", "always", "never"))
    memory_gb: float = setting(4.0, above=0)
    stored_size: int | None = setting(None, at_least=4)
    check: str = setting("auto", one_of=("auto", "all", "sample", "none"))
    on_broken: str = setting("error", one_of=("error", "skip"), may_change=True)
    timeout_s: float | None = setting(600.0, above=0, at_most=1e6, hint="seconds; null waits for ever", may_change=True)
    labels: str = setting("auto", one_of=("auto", "none"))
    cache_dir: str | None = setting(None, may_change=True)
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
        if self.in_memory == "never" and self.source not in FILE_SOURCES:
            raise ValueError(
                f"data.in_memory=never is for {' and '.join(FILE_SOURCES)}, data.source={self.source} "
                "comes as one array; set data.in_memory=auto"
            )
        if self.in_memory == "always" and self.check in ("sample", "none"):
            raise ValueError(
                f"data.in_memory=always decodes every image, data.check={self.check} does not; "
                "leave one of them at auto"
            )

    @property
    def place(self) -> str:
        """What the images are called by: for messages."""
        return f"data.name={self.name}" if self.name is not None else f"data.root={self.root}"

    def for_comparison(self, *ignored: str) -> "Data":
        """A copy in which the fields of `HOW_READ` and of `ignored` have their defaults: equal copies, equal images."""
        plain = Data()
        return replace(self, **{name: getattr(plain, name) for name in (*HOW_READ, *ignored)})

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
