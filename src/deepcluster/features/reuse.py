"""Compute the untrained network's reduced features once, for its figures and for the first epoch's clustering.

Jobs of a sweep that differ only in later steps (K, learning rate, ...) share these features through files.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.cache import fingerprint
from deepcluster.data.decode import LAW
from deepcluster.data.images import FileImages, ImageSet, MemoryImages
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Source
from deepcluster.data.view_settings import View
from deepcluster.features.digest import weights_digest
from deepcluster.models.backbone import Backbone
from deepcluster.system import distributed
from deepcluster.system.progress import Progress

Reduced = tuple[FittedReduction, Tensor | None]
N_FILES_CHECKED = 500  # of a set in files: their size and time of change go into the hash


@dataclass(kw_only=True)
class UntrainedFeatures:
    """Keeps the reduced features of the untrained network for all clusterings before the first training step.

    Nothing is kept with several processes, nor where PCA is fitted on a sample, which each clustering draws anew.

    Args:
        depends_on: what else changes the features, besides the network and the reduction. It is hashed by its repr.
        folder: where jobs of a sweep share the features; None: they are not shared.
        limit_mb: upper limit in memory, and for all files in the folder together.
        progress: prints a line when another job has computed the features.
        training_begins: the last clustering before the first training step is done; nothing is kept any more.
    """

    depends_on: tuple[object, ...]
    folder: Path | None = None
    limit_mb: int = 1024
    progress: Progress = field(default_factory=Progress)
    training_begins: bool = False
    _kept: tuple[str, Reduced] | None = None

    def reduced(
        self,
        backbone: Backbone,
        reduction: Reduction,
        n_images: int,
        compute: Callable[[], Reduced],
        *,
        keep_features: bool,
    ) -> Reduced:
        """The features of this network: kept ones if there are any, else from `compute`. Do not change the tensors.

        Args:
            keep_features: another clustering of the untrained network follows. If not, memory is freed.
        """
        fits_all = not reduction.needs_fit or reduction.fit_images is None or reduction.fit_images >= n_images
        if self.training_begins or self.limit_mb == 0 or not fits_all or distributed.world_size() > 1:
            return compute()
        key = self._key(backbone, reduction)
        features = self._kept[1] if self._kept is not None and self._kept[0] == key else self._load(key)
        if features is None:
            features = compute()
            self._save(key, features)
        self.training_begins = not keep_features
        fits = isinstance(features[1], Tensor) and features[1].nbytes <= self.limit_mb * 2**20
        self._kept = (key, features) if keep_features and fits else None
        return features

    def _key(self, backbone: Backbone, reduction: Reduction) -> str:
        fit = {**asdict(reduction), "fit_images": None}  # PCA is fitted on all images here
        machine = (torch.__version__, torch.get_num_threads())  # sums in another order round differently
        parts = repr((*self.depends_on, fit, machine, weights_digest(backbone)))
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()

    def _load(self, key: str) -> Reduced | None:
        if self.folder is None or not (file := self.folder / f"{key}.pt").is_file():
            return None
        try:
            stored: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            reduced = FittedReduction.from_state_dict(stored["reduction"]), stored["reduced"]
        except Exception:  # a damaged file of any kind: the features are computed again
            return None
        self.progress.say("features   of the untrained network: another job of this sweep has computed them")
        return reduced

    def _save(self, key: str, features: Reduced) -> None:
        """Write a file into the folder, whole or not at all: jobs that run at once may write the same one."""
        fitted, reduced = features
        if self.folder is None or not isinstance(reduced, Tensor):
            return
        used = sum(file.stat().st_size for file in self.folder.glob("*.pt"))
        if used + reduced.nbytes > self.limit_mb * 2**20:
            return
        part = self.folder / f".{key}.{os.getpid()}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save({"reduction": fitted.state_dict(), "reduced": reduced}, part)
            os.replace(part, self.folder / f"{key}.pt")
        except (OSError, RuntimeError):  # torch raises RuntimeError on a full disk; the run goes on without the file
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def same_images(data: Source, reading: Reading, view: View, images: ImageSet) -> str:
    """A hash of the images as the feature view sees them: of their settings and names, and of pixels in memory.

    For images in files, the hash covers the source's own fingerprint, and size and time of change of some hundred
    files. It changes when a set is made again; it may not change when a single file is overwritten.
    """
    digest = hashlib.blake2b(repr((data.which, reading.pixels, asdict(view))).encode(), digest_size=16)
    digest.update("\0".join(images.samples).encode("utf-8", "surrogateescape"))
    if isinstance(images, MemoryImages):
        digest.update(images.images.contiguous().numpy().data)
    elif isinstance(images, FileImages):
        step = max(1, len(images) // N_FILES_CHECKED)
        checked = [images.samples[i] for i in range(0, len(images), step)]
        digest.update(fingerprint(files=[(name, str(images.root / name)) for name in checked]).encode())
    digest.update(f"{LAW} {getattr(images, 'fingerprint', '')}".encode())
    return digest.hexdigest()
