"""Images of any size -> their regions' maxima (R, D), block by block, saved on disk. Next: descriptors.py.

The network sees each image whole, at its own shape; images of the same shape are computed together. A block's file name
is a hash of everything that its content depends on, including the weights and each file's size and time of change. So
only a call with the same settings and images reads it.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data.cache import fingerprint
from deepcluster.data.decode import WHITE, BrokenImage, UnreadableImage
from deepcluster.evaluation.kept_work import KeptWork
from deepcluster.evaluation.retrieval.rmac import region_maxima
from deepcluster.evaluation.retrieval.sets import Box, read_resized
from deepcluster.models.backbone import Backbone
from deepcluster.system.threads import ahead, n_cores

BLOCK = 64  # images per file; a killed run loses at most this many
MAX_PIXELS = 2**20  # in one forward pass: one image of 1024 x 1024
VERSION = 1  # raise it if a code change changes the regions, so that old files are not used

Item = tuple[Path, Box | None]


@dataclass(kw_only=True)
class Block:
    """The regions of some images at one size.

    Args:
        maxima: (sum of counts, D) float32, rows of length 1, one image after the other.
        counts: number of regions of each image; 0 for a broken one.
        broken: place in the block -> reason why the image cannot be decoded.
    """

    maxima: Tensor
    counts: list[int]
    broken: dict[int, str]


@dataclass(kw_only=True)
class RegionFeatures:
    """Computes regions of image files and saves them.

    Args:
        network: an inference copy, on `device`.
        stage: stage whose maps are used.
        mean, std: per channel, in [0, 1].
        levels: number of levels of R-MAC's regions.
        folder: where blocks are saved.
        device: where the network computes.
        weights: a hash of the network's weights (features/digest.py).
        max_value: reading.max_value.
    """

    network: Backbone
    stage: str
    mean: list[float]
    std: list[float]
    levels: int
    folder: Path
    device: torch.device
    weights: str
    max_value: int

    def blocks(self, images: Sequence[Item], size: int, advance: Callable[[int], None]) -> Iterator[Block]:
        """The images' regions at one size, in their order: read from disk if saved, else computed and saved.

        Raises:
            UnreadableImage: if a file cannot be read.
            ValueError: if an image is too small for the stage, or a feature is not finite; names it.
        """
        parts = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
        names = [self._key(part, size) for part in parts]
        kept_work = KeptWork(folder=self.folder, facts={})
        are_saved = [kept_work.read(name, mmap=True) is not None for name in names]
        missing = [item for part, is_saved in zip(parts, are_saved, strict=True) if not is_saved for item in part]
        n_channels = self.network.in_channels

        def decode(item: Item) -> Tensor | str:
            try:
                return read_resized(item[0], n_channels, size, item[1], self.max_value)
            except UnreadableImage:  # a missing disk must not look like broken images
                raise
            except BrokenImage as error:
                return error.reason

        with ThreadPoolExecutor(n_cores()) as executor:
            decoded = ahead(executor, decode, missing, BLOCK)
            for part, name, is_saved in zip(parts, names, are_saved, strict=True):
                if is_saved:
                    content = kept_work.read(name, mmap=True)
                    if content is None:  # it was there when this call began
                        raise ValueError(f"{kept_work.file(name)} was removed or damaged during this call; start again")
                    block = Block(**content)
                else:
                    block = self._compute(part, [next(decoded) for _ in part], size)
                    kept_work.write(name, vars(block))
                advance(len(part))
                yield block

    @torch.inference_mode()
    def _compute(self, part: Sequence[Item], decoded: list[Tensor | str], size: int) -> Block:
        broken = {i: image for i, image in enumerate(decoded) if isinstance(image, str)}
        by_shape: dict[torch.Size, list[int]] = {}
        for i, image in enumerate(decoded):
            if isinstance(image, Tensor):
                by_shape.setdefault(image.shape, []).append(i)
        by_place: dict[int, Tensor] = {}
        for shape, members in by_shape.items():
            n_at_once = max(1, MAX_PIXELS // (shape[1] * shape[2]))
            for start in range(0, len(members), n_at_once):
                batch = members[start : start + n_at_once]
                pixels = torch.stack([image for i in batch if isinstance(image := decoded[i], Tensor)])
                maxima = region_maxima(self._maps(pixels, part[batch[0]][0], size), self.levels).cpu()
                finite = torch.isfinite(maxima).flatten(1).all(1)
                if not bool(finite.all()):
                    culprit = part[batch[int((~finite).nonzero()[0, 0])]][0]
                    raise ValueError(
                        f"the features of {culprit} are NaN or infinite: the network has diverged or its weights are "
                        "damaged; use an earlier checkpoint"
                    )
                by_place |= dict(zip(batch, maxima, strict=True))
        counts = [len(by_place[i]) if i in by_place else 0 for i in range(len(part))]
        joined = torch.cat([by_place[i] for i in sorted(by_place)]) if by_place else torch.zeros(0, 0)
        return Block(maxima=joined, counts=counts, broken=broken)

    def _maps(self, pixels: Tensor, path: Path, size: int) -> Tensor:
        mean, std = (255 * torch.tensor(values, device=self.device).view(-1, 1, 1) for values in (self.mean, self.std))
        images = (pixels.to(self.device).float() - mean) / std
        try:
            maps = self.network.stage(images, self.stage)
        except RuntimeError as error:
            if min(images.shape[2:]) >= self.network.image_size:
                raise  # the size is not the reason, but perhaps memory or a mistake in the code
            raise ValueError(self._too_small(path, images, size)) from error
        if maps.shape[2] == 0 or maps.shape[3] == 0:
            raise ValueError(self._too_small(path, images, size))
        return maps

    def _too_small(self, path: Path, images: Tensor, size: int) -> str:
        height, width = images.shape[2:]
        return (
            f"{path} or its region is {width} x {height} pixels at evaluation.sizes={size}, too small for "
            f"{self.stage}; raise evaluation.sizes, or take an earlier evaluation.stage"
        )

    def _key(self, part: Sequence[Item], size: int) -> str:
        dtype = str(self.network.compute_dtype)
        facts: tuple[object, ...] = (VERSION, self.weights, self.stage, self.mean, self.std, self.levels, dtype, size)
        if self.max_value != WHITE:  # saved blocks stay good
            facts = (*facts, f"white {self.max_value}")
        boxes = [box for _, box in part]
        return fingerprint(facts, boxes, files=((str(path.resolve()), str(path)) for path, _ in part))
