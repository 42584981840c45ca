"""Settings of the feature pass. Next: extraction.py. They are read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from deepcluster.features.storage import Storage


@dataclass(kw_only=True)
class Extraction:
    """How features are computed and kept.

    Args:
        batch_size: images per forward pass (memory and speed only, never the result's meaning).
        buffer_mb: raw features kept in memory until PCA is fitted. What does not fit is computed twice.
        store: where the reduced features are kept while they are clustered: "memory", "disk" (a mapped file, which
            is deleted afterwards), or "auto": in memory where they fit, else on disk.
        store_dtype: "float32", "float16" (half the room), or "auto": float16 only where float32 does not fit and
            rows have length 1 (reduction.l2). What was chosen stands in the run's config.yaml, so that a resumed run
            keeps it.
        memory_gb: memory (1e9 bytes) that reduced features may take; null: half of what is free.
        scratch: folder for the mapped file, on a fast disk; null: the run's.
        reuse_mb: reduced features of the untrained network kept for the first clusterings (in memory) and for other
            jobs of the same sweep (in its folder), each at most; 0 keeps none. Only where all images fit PCA.
    """

    batch_size: int = setting(256, at_least=1)
    buffer_mb: int = setting(512, at_least=0, hint="0 keeps nothing")
    store: str = setting("auto", one_of=("auto", "memory", "disk"), may_change=True)
    store_dtype: str = setting("auto", one_of=("auto", "float32", "float16"))
    memory_gb: float | None = setting(None, above=0, hint="null is half of what is free", may_change=True)
    scratch: str | None = setting(None, may_change=True)
    reuse_mb: int = setting(1024, at_least=0, hint="0 keeps nothing", may_change=True)

    def __post_init__(self) -> None:
        check(self, "extraction")

    def storage(self, n: int, dim: int, *, unit_length: bool, folder: Path) -> Storage:
        """How n rows of `dim` reduced features will be kept; the file goes into `folder` if scratch is null.

        Raises:
            ValueError: if there is no room for them, or no folder `scratch`.
        """
        from deepcluster.features.storage import choose_storage

        if self.scratch is not None and not Path(self.scratch).is_dir():
            raise ValueError(f"extraction.scratch={self.scratch}: there is no such folder; make it, or name another")
        return choose_storage(
            self.store,
            self.store_dtype,
            n=n,
            dim=dim,
            unit_length=unit_length,
            memory_gb=self.memory_gb,
            folder=folder if self.scratch is None else Path(self.scratch),
        )
