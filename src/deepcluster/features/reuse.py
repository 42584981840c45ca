"""Reduced features of the untrained network, computed once: its figures and the first epoch cluster the same ones.

Jobs of a sweep that differ only in what comes after (K, learning rate, ...) share them through files.
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
from deepcluster.data.images import FileImages, ImageSet, MemoryImages
from deepcluster.data.settings import Data
from deepcluster.data.view_settings import View
from deepcluster.features.digest import weights_digest
from deepcluster.models.backbone import Backbone
from deepcluster.system import distributed
from deepcluster.system.progress import Progress

Reduced = tuple[FittedReduction, Tensor | None]
LOOKED_AT = 500  # files


@dataclass(kw_only=True)
class UntrainedFeatures:
    """Keeps the reduced features that were computed first, for all clusterings before the network learns.

    Nothing is kept with several processes, nor where PCA sees a sample, which each clustering draws anew.

    Args:
        decided_by: what decides the features besides network and reduction: values whose repr holds all of it.
        folder: where jobs of a sweep share them; None: this run is alone.
        limit_mb: the most that is kept in memory, and in the folder (all files together).
        progress: says so when another job has computed them.
        over: whether the last clustering before the network learns is done; then nothing is kept any more.
    """

    decided_by: tuple[object, ...]
    folder: Path | None = None
    limit_mb: int = 1024
    progress: Progress = field(default_factory=Progress)
    over: bool = False
    _kept: tuple[str, Reduced] | None = None

    def reduced(
        self,
        backbone: Backbone,
        reduction: Reduction,
        n_images: int,
        compute: Callable[[], Reduced],
        *,
        again: bool,
    ) -> Reduced:
        """What `compute` gives for this network, or gave before; do not change the tensors.

        Args:
            again: whether another clustering of the untrained network may follow. If not, all is forgotten.
        """
        seen_whole = not reduction.needs_fit or reduction.fit_images is None or reduction.fit_images >= n_images
        if self.over or self.limit_mb == 0 or not seen_whole or distributed.world_size() > 1:
            return compute()
        key = self._key(backbone, reduction)
        features = self._kept[1] if self._kept is not None and self._kept[0] == key else self._read(key)
        if features is None:
            features = compute()
            self._write(key, features)
        self.over = not again
        fits = isinstance(features[1], Tensor) and features[1].nbytes <= self.limit_mb * 2**20
        self._kept = (key, features) if again and fits else None
        return features

    def _key(self, backbone: Backbone, reduction: Reduction) -> str:
        fit = {**asdict(reduction), "fit_images": None}  # all of them
        machine = (torch.__version__, torch.get_num_threads())  # float sums in another order are other sums
        parts = repr((*self.decided_by, fit, machine, weights_digest(backbone)))
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()

    def _read(self, key: str) -> Reduced | None:
        if self.folder is None or not (file := self.folder / f"{key}.pt").is_file():
            return None
        try:
            stored: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            reduced = FittedReduction.from_state_dict(stored["reduction"]), stored["reduced"]
        except Exception:  # whatever is wrong with it, it can be computed
            return None
        self.progress.say("features   of the untrained network: another job of this sweep has computed them")
        return reduced

    def _write(self, key: str, features: Reduced) -> None:
        """Into the folder, whole or not at all; jobs that run at once may write the same."""
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
        except (OSError, RuntimeError):  # a full disk, for which torch raises RuntimeError; nothing depends on the file
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def same_images(data: Data, view: View, images: ImageSet) -> str:
    """A hash of the images as the feature view sees them: settings and names, and pixels where they are in memory.

    Of images in files: what the source knows of them, and size and time of change of some hundred files. A set that
    was made anew is noticed; a single file that is written over may not be.
    """
    digest = hashlib.blake2b(repr((asdict(data.told()), asdict(view))).encode(), digest_size=16)
    digest.update("\0".join(images.samples).encode("utf-8", "surrogateescape"))
    if isinstance(images, MemoryImages):
        digest.update(images.images.contiguous().numpy().data)
    elif isinstance(images, FileImages):
        some = [images.samples[i] for i in range(0, len(images), max(1, len(images) // LOOKED_AT))]
        digest.update(fingerprint(files=[(name, str(images.root / name)) for name in some]).encode())
    digest.update(str(getattr(images, "fingerprint", "")).encode())
    return digest.hexdigest()
