"""The group `reading`: how images are read, whatever they are. Next: sources/load.py, scan.py, loader.py."""

from dataclasses import dataclass

from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class Reading:
    """How images come from the disk into memory and into batches.

    Args:
        batch_size: images per training batch and process.
        num_workers: reading processes; None: 0 for sets in memory, else one per core, at most 8.
        persistent_workers: keep the reading processes from epoch to epoch.
        in_memory: encoded images: "auto" keeps them decoded in memory if they fit, "always" demands it, "never"
            decodes at each access.
        memory_gb: how many GB (1e9 bytes) the images of one split may take.
        stored_size: side of the square to which images are brought when they are kept in memory (short side
            resized, centre cropped); None: they are kept as they are, if all have one size.
        decode: "full", or "scaled": a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where a view shrinks it as much
            anyway, never so small that it would have to be enlarged.
            From 12 megapixels on that takes about half the time. Crops are the same regions; their pixels differ by 1
            to 3 of 255 grey levels, which moves features, so a network should see all images in one way.
        max_value: of images with 16 bits: the value that becomes white (255), as 4095 of 12-bit cameras and scanners;
            higher ones become white too. One for all images, so that a bright one stays brighter than a dark one.
        check: which encoded images are decoded before the training, to find broken ones: "all", "sample" (2,000,
            evenly spaced), "none"; "auto" takes all of up to 200,000 and of those that fit into memory, a sample of
            more.
        on_broken: "error" stops when images cannot be decoded. "skip" leaves out those that are found before the
            training (check "all"); one that is met later is shown in mid-grey, so that the set keeps its size, and
            named in the log. A file that is gone stops the run in any case.
        timeout_s: folder: the longest, in seconds, that one image may take to come from the disk, and a batch from the
            reading processes; then the run stops and names it. null waits for ever.
        cache_dir: where scans, decoded sets and statistics of files are remembered; None: the user's cache
            folder ($XDG_CACHE_HOME or ~/.cache, /deepcluster); "none": nothing is remembered.
    """

    batch_size: int = setting(64, at_least=2)
    num_workers: int | None = setting(None, at_least=0, at_most=1024, may_change=True, hint="one per core is usual")
    persistent_workers: bool = setting(False, may_change=True)
    in_memory: str = setting("auto", one_of=("auto", "always", "never"))
    memory_gb: float = setting(4.0, above=0)
    stored_size: int | None = setting(None, at_least=4)
    decode: str = setting("full", one_of=("full", "scaled"))
    max_value: int = setting(65_535, at_least=1, at_most=65_535)
    check: str = setting("auto", one_of=("auto", "all", "sample", "none"))
    on_broken: str = setting("error", one_of=("error", "skip"), may_change=True)
    timeout_s: float | None = setting(600.0, above=0, at_most=1e6, hint="seconds; null waits for ever", may_change=True)
    cache_dir: str | None = setting(None, may_change=True, is_path=True)

    def __post_init__(self) -> None:
        check(self, "reading")
        if self.in_memory == "always" and self.check in ("sample", "none"):
            raise ValueError(
                f"reading.in_memory=always decodes every image, reading.check={self.check} does not; "
                "leave one of them at auto"
            )

    @property
    def pixels(self) -> tuple[object, ...]:
        """What decides the pixels that are read of an image: for hashes of images."""
        facts: tuple[object, ...] = (self.stored_size, self.decode)
        return facts if self.max_value == 65_535 else (*facts, self.max_value)  # hashes of old runs stay
