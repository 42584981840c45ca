"""The group `extraction`. Next: extraction.py. Imports nothing heavy: the config is composed from this file."""

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
        batch_size: images per forward pass; changes memory and speed, and results by rounding only.
        buffer_mb: memory for raw features until PCA is fitted. What does not fit is computed twice.
        store: where the reduced features are kept while they are clustered: "memory", "disk" (a mapped file, which
            is deleted afterwards), or "auto": in memory if they fit, else on disk.
        store_dtype: "float32", "float16" (half the size), or "auto": float16 only if float32 does not fit and
            rows have length 1 (reduction.l2). The choice is written to the run's config.yaml, so that a resumed run
            keeps it.
        memory_gb: memory (1e9 bytes) that reduced features may take; null: half of what is free.
        scratch: folder for the mapped file, on a fast disk; null: the run's.
        reuse_mb: upper limit for keeping the untrained network's reduced features, in memory for the first clusterings
            and in the sweep's folder for its other jobs; 0 keeps none. Only if PCA is fitted on all images.
    """

    batch_size: int = setting(256, at_least=1)
    buffer_mb: int = setting(512, at_least=0, hint="0 keeps nothing")
    store: str = setting("auto", one_of=("auto", "memory", "disk"), may_change=True)
    store_dtype: str = setting("auto", one_of=("auto", "float32", "float16"))
    memory_gb: float | None = setting(None, above=0, hint="null is half of what is free", may_change=True)
    scratch: str | None = setting(None, may_change=True, is_path=True)
    reuse_mb: int = setting(1024, at_least=0, hint="0 keeps nothing", may_change=True)

    def __post_init__(self) -> None:
        check(self, "extraction")

    def storage(self, n: int, dim: int, *, unit_length: bool, folder: Path) -> Storage:
        """How n rows of `dim` reduced features will be kept; the file goes into `folder` if scratch is null.

        Raises:
            ValueError: if they do not fit, or the folder `scratch` does not exist.
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
