"""The group `files`: what a run writes about single images at its end. Read without importing torch."""

from dataclasses import dataclass

from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class AboutImages:
    """What is written about single images besides their places in clusters.csv.

    Args:
        duplicates: look for copies of the same picture, and write duplicates.csv.
        odd: look for the least typical pictures, and write odd.csv.
        embeddings_mb: the most that embeddings.npy may take, in 1e6 bytes; larger ones are not written. 0: none.
    """

    duplicates: bool = setting(True, may_change=True)
    odd: bool = setting(True, may_change=True)
    embeddings_mb: int = setting(1000, at_least=0, hint="0 writes none", may_change=True)


@dataclass(kw_only=True)
class Files(AboutImages):
    """The same at the end of a run. eval.py evaluation=files and evaluation=embed write it later.

    Args:
        write: "auto": where each image is a file of its own (data=folder); "always"; "never".
    """

    write: str = setting("auto", one_of=("auto", "always", "never"), may_change=True)

    def __post_init__(self) -> None:
        check(self, "files")

    def are_written(self, source: str) -> bool:
        """Whether a run on data=source writes them."""
        return self.write == "always" or (self.write == "auto" and source == "folder")

    def n_passes(self, source: str) -> int:
        """How often all images go through the network for them."""
        return int(self.are_written(source))

    def are_compared(self, source: str) -> bool:
        """Whether small pictures of all images are made and compared for them."""
        return self.are_written(source) and (self.duplicates or self.odd)
