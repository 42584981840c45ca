"""Images are decoded once before training: broken ones are found now, and small sets stay in memory.

Of sets too large for that a sample is decoded; loader.py deals with images that turn out broken later.

Next: statistics.py measures the pixels; views.py cuts crops.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepcluster.data import cache
from deepcluster.data.contents import UNKNOWN, content_digest, contents
from deepcluster.data.decode import LAW, WHITE, BrokenImage, UnreadableImage, highest_16_bit_value
from deepcluster.data.images import DecodedImages, ImageSet, MemoryImages, evenly_spaced
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Source
from deepcluster.data.shrunk import Shrink, Shrunk, as_small_as_can_be, central_square, to_short_side
from deepcluster.system.threads import for_each, in_threads

_log = logging.getLogger(__name__)
_N_NAMED = 5
_N_FOR_DEPTH = 64
_ENTRY = ("broken", "digests", "images", "highest")  # of _Outcome
_DEPTHS = [2**bits - 1 for bits in (8, 10, 12, 14)]  # of what 16 bits are used for
_N_ALL = 200_000  # photographs: about two minutes on 2 cores
_N_SAMPLED = 2_000
_N_UNCHECKED = 100  # images whose content is remembered with reading.check=none


class _Outcome(NamedTuple):
    broken: dict[int, str]  # index -> reason
    digests: Tensor  # (M,) int64, of the contents of the images that were read
    images: Tensor | None  # uint8 (N, C, H, W), if they are kept in memory; broken ones are left out
    highest: int = 0  # value of 16 bits in a sample of them; 0: they have 8
    may_heal: bool = False  # some could not even be read: another time they may be


def choose_check(images: DecodedImages, reading: Reading) -> str:
    """reading.check, or what suits: all of sets that are not huge or fit into memory, else a sample."""
    if reading.check != "auto":
        return reading.check
    if len(images) <= _N_ALL or reading.in_memory == "always":
        return "all"
    if reading.in_memory == "never":
        return "sample"
    shape = _stored_shape(images, reading)
    return "all" if shape is not None and len(images) * shape.numel() <= reading.memory_gb * 1e9 else "sample"


def scan(
    images: DecodedImages, settings: Source, reading: Reading, split: str, check: str, *, least: int = 2
) -> ImageSet:
    """Decode all images once, and keep them in memory if that is wanted and possible; or only a sample, or none.

    A finished scan is remembered together with the decoded images, so that unchanged files are not decoded
    again.

    Args:
        check: "all" leaves broken images out (reading.on_broken=skip). With "sample" and "none" the set is what the
            folders hold, whatever turns out to be broken later.
        least: how many good images there must be; 2 to learn from.

    Raises:
        ValueError: if images are broken (reading.on_broken=error), or all of them are, or if
            reading.in_memory=always cannot be.
    """
    images = replace(
        images,
        on_broken=reading.on_broken,
        timeout_s=reading.timeout_s,
        scaled=reading.decode == "scaled",
        max_value=reading.max_value,
    )
    if check == "none":
        images.fetch_encoded()
        chosen = evenly_spaced(len(images), _N_UNCHECKED)
        return _with_contents(images, chosen, _read_each(images, chosen, None, None, "reading a few images").digests)
    facts: list[object] = [
        LAW,
        images.fingerprint,
        images.n_channels,
        reading.in_memory,
        reading.memory_gb,
        reading.stored_size,
    ]
    if reading.decode != "full":  # so that entries of before this was a setting stay good
        facts.append(reading.decode)
    if reading.max_value != WHITE:
        facts.append(f"white {reading.max_value}")
    sample = evenly_spaced(len(images), _N_SAMPLED)
    if check == "sample":
        facts += [_N_SAMPLED, images.state(sample)]
    key = cache.fingerprint(*facts)
    outcome = _recall(cache.read(settings, reading, f"scan-{split}", key))
    if outcome is None:
        images.fetch_encoded()
        outcome = _decode_all(images, settings.place, reading) if check == "all" else _decode_sample(images)
        if not outcome.may_heal:
            cache.write(settings, reading, f"scan-{split}", key, _entry(outcome))
    if split == "train":
        _tell_of_depth(outcome.highest, settings.place, reading.max_value)
    if check == "sample":
        _check_sample(images, outcome.broken, settings.place, reading.on_broken)
        images.fetch_encoded()
        return _with_contents(images, sample, outcome.digests)
    _check_broken(images, outcome.broken, settings.place, reading.on_broken, least)
    skipped = [(images.samples[i], reason) for i, reason in sorted(outcome.broken.items())]
    good = [i for i in range(len(images)) if i not in outcome.broken]
    kept = images.take(good) if skipped else images
    table = contents(range(len(good)), outcome.digests[good] if skipped else outcome.digests)
    if outcome.images is not None:
        return MemoryImages(
            images=outcome.images,
            samples=kept.samples,
            labels=kept.labels,
            classes=kept.classes,
            skipped=skipped,
            contents=table,
        )
    kept = replace(kept, skipped=skipped, contents=table)
    kept.fetch_encoded()
    return kept


def _with_contents(images: DecodedImages, chosen: Sequence[int], digests: Tensor) -> DecodedImages:
    """Images of which only some were read; their fingerprint changes with those."""
    changes_too = cache.fingerprint(images.fingerprint, digests.tolist())
    return replace(images, contents=contents(chosen, digests), fingerprint=changes_too)


def _decode_all(images: DecodedImages, place: str, reading: Reading) -> _Outcome:
    store = _Store(images, reading)
    _log.info("decoding %s images of %s once", f"{len(images):,}", place)
    outcome = _read_each(images, range(len(images)), store.shrink, store.keep, "decoding images")
    kept = store.images
    if kept is not None and outcome.broken:
        kept = kept[[i for i in range(len(images)) if i not in outcome.broken]]
    return outcome._replace(images=kept)


def _decode_sample(images: DecodedImages) -> _Outcome:
    chosen = evenly_spaced(len(images), _N_SAMPLED)
    _log.info("decoding a sample of %s of %s images", f"{len(chosen):,}", f"{len(images):,}")
    return _read_each(images, chosen, as_small_as_can_be, lambda i, image: None, "decoding a sample")


def _read_each(
    images: DecodedImages,
    chosen: Sequence[int],
    shrink: Shrink | None,
    use: Callable[[int, Shrunk], None] | None,
    title: str,
) -> _Outcome:
    """Read the chosen images in threads: what they hold, and why some are broken.

    Args:
        use: takes a decoded image; None: they are not decoded.
    """
    broken: dict[int, str] = {}
    may_heal: list[int] = []
    highest = [0]
    sample = set(evenly_spaced(len(chosen), _N_FOR_DEPTH)) if use is not None else set()
    digests = torch.full((len(chosen),), UNKNOWN, dtype=torch.int64)

    def work(number: int) -> None:
        i = chosen[number]
        try:
            stored = images.stored(i)
            digests[number] = content_digest(stored)
            if use is not None:
                use(i, images.decode(i, stored, shrink if images.scaled else None))
            if number in sample and isinstance(stored, bytes):
                highest.append(highest_16_bit_value(stored, images.n_channels) or 0)
        except BrokenImage as error:
            broken[i] = error.reason
            if isinstance(error, UnreadableImage):
                may_heal.append(i)

    for_each(
        len(chosen),
        work,
        title,
        timeout_s=images.timeout_s,
        name=lambda number: repr(images.samples[chosen[number]]),
    )
    return _Outcome(broken=broken, digests=digests, images=None, highest=max(highest), may_heal=bool(may_heal))


class _Store:
    """Decoded images in one array, given up when they do not fit or differ in size."""

    def __init__(self, images: DecodedImages, reading: Reading) -> None:
        self.samples = images.samples
        self.reading = reading
        self.images: Tensor | None = None
        if reading.in_memory == "never":
            return
        shape = _stored_shape(images, reading)
        if shape is None:
            return
        n_bytes = len(images) * shape.numel()
        if n_bytes <= reading.memory_gb * 1e9:
            self.images = torch.empty(len(images), *shape, dtype=torch.uint8)
        else:
            size = " x ".join(map(str, shape))
            self._refuse(
                f"{len(images):,} images of {size} take {n_bytes / 1e9:.3g} GB, "
                f"reading.memory_gb={reading.memory_gb:g}; raise it, lower reading.stored_size, "
                "or set reading.in_memory=auto"
            )

    def shrink(self, height: int, width: int) -> float:
        """How many times smaller an image may be decoded for what is kept of it."""
        if self.images is None:
            return as_small_as_can_be(height, width)
        side = self.reading.stored_size
        return 1.0 if side is None else to_short_side(side)(height, width)

    def keep(self, i: int, image: Shrunk) -> None:
        store, side = self.images, self.reading.stored_size
        if store is None:
            return
        pixels = image.pixels if side is None else central_square(image, side, side)
        if pixels.shape != store.shape[1:]:
            self.images = None
            (height, width), (other_height, other_width) = pixels.shape[1:], store.shape[2:]
            self._refuse(
                f"images differ in size, {self.samples[i]!r} is {width} x {height} and others "
                f"{other_width} x {other_height}; set reading.stored_size to bring them to one, "
                "or reading.in_memory=auto"
            )
            return
        store[i] = pixels

    def _refuse(self, reason: str) -> None:
        if self.reading.in_memory == "always":
            raise ValueError(f"reading.in_memory=always: {reason}")
        _log.info("images stay on disk: %s", reason)


def _stored_shape(images: DecodedImages, reading: Reading) -> torch.Size | None:
    """(C, H, W) of the images in memory, if all are like the first good one; None if there is none."""
    if reading.stored_size is not None:
        return torch.Size([images.n_channels, reading.stored_size, reading.stored_size])
    for i in range(len(images)):
        try:
            return in_threads(
                [i], images.read, n_threads=1, timeout_s=images.timeout_s, name=lambda i: repr(images.samples[i])
            )[0].shape
        except BrokenImage:
            continue
    return None


def _check_broken(images: DecodedImages, broken: dict[int, str], place: str, on_broken: str, least: int) -> None:
    if not broken:
        return
    named = _named(images, broken)
    head = f"{len(broken):,} of {len(images):,} images of {place} cannot be decoded"
    if len(images) - len(broken) < least:
        needed = "none can" if least == 1 else f"at least {least} good ones are needed"
        raise ValueError("\n".join([f"{head}; {needed}:", *named]))
    if on_broken == "error":
        raise ValueError("\n".join([f"{head}:", *named, "reading.on_broken=skip leaves them out"]))
    _log.warning("%s and are left out:\n%s", head, "\n".join(named))


def _check_sample(images: DecodedImages, broken: dict[int, str], place: str, on_broken: str) -> None:
    if not broken:
        return
    n = min(len(images), _N_SAMPLED)
    head = f"{len(broken):,} of {n:,} sampled images of {place} cannot be decoded"
    if len(broken) == n:
        raise ValueError("\n".join([f"{head}; are these images?", *_named(images, broken)]))
    ways = "reading.check=all with reading.on_broken=skip finds all such images first and leaves them out"
    if on_broken == "error":
        shown = "reading.on_broken=skip shows them in grey"
        raise ValueError("\n".join([f"{head}:", *_named(images, broken), f"{shown}; {ways}"]))
    _log.warning("%s; they are shown in grey. %s:\n%s", head, ways, "\n".join(_named(images, broken)))


def _named(images: DecodedImages, broken: dict[int, str]) -> list[str]:
    named = [f"  {images.samples[i]!r}: {broken[i]}" for i in sorted(broken)[:_N_NAMED]]
    if len(broken) > _N_NAMED:
        named.append(f"  and {len(broken) - _N_NAMED:,} more")
    return named


def _tell_of_depth(highest: int, place: str, max_value: int) -> None:
    """Images of 12 bits in files of 16 would come out as 15 shades of black."""
    suited = next((depth for depth in _DEPTHS if highest <= depth), WHITE)
    if highest > 0 and suited < max_value:
        _log.warning(
            "%s: the images have 16 bits, and a sample of them uses only a small part, up to %s: that leaves %s of 256 "
            "levels, all dark. reading.max_value=%s makes %s white instead of %s, in all images alike",
            *(place, f"{highest:,}", (highest * 510 + max_value) // (2 * max_value) + 1, suited),
            *(f"{suited:,}", f"{max_value:,}"),
        )
    elif highest > max_value:
        _log.warning("%s: values above reading.max_value=%s, up to %s, become white", place, max_value, f"{highest:,}")


def _entry(outcome: _Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in _ENTRY}


def _recall(entry: dict[str, Any] | None) -> _Outcome | None:
    return None if entry is None else _Outcome(**{name: entry[name] for name in _ENTRY})
