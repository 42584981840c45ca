"""The batches of an epoch, and of a pass for features; nothing starts before the reassignment.

Next: crop_loader.py has the view cut crops on the training device.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing.sharedctypes import RawArray
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from deepcluster.data.broken import Broken, note_broken
from deepcluster.data.decode import BrokenImage, UnreadableImage
from deepcluster.data.images import ImageSet, MemoryImages, read_shrunk
from deepcluster.data.multi_crop import MultiCrop
from deepcluster.data.shrunk import whole
from deepcluster.data.views import FeatureView, TrainView
from deepcluster.system import stop_signals
from deepcluster.system.machine import free_shared_memory, in_gb
from deepcluster.system.seeding import mix
from deepcluster.system.threads import hung_message, in_threads, n_cores


class Batch(NamedTuple):
    """images uint8 (B, C, H, W), their indices (B,) int64 in the set, the view's random numbers (B, 6 or 15).

    Workers that cut several crops give images (B, n), and draws are those of all crops: see MultiCrop.
    """

    images: Tensor
    indices: Tensor
    draws: Tensor


PREFETCHED = 2  # batches that each reading process holds ready: torch's default; one more is in use
_log = logging.getLogger(__name__)
RandomView = TrainView | MultiCrop
_Loader = DataLoader[tuple[Batch, list[Broken]]]


class Request(NamedTuple):
    """What a worker is asked for: images (n,) of a batch or of several; each batch's seed and size, none: no draws."""

    indices: Tensor
    seeds: list[tuple[int, int]]


class _Plan:
    """The DataLoader's sampler: requests that are replaced before each epoch, so that workers may persist."""

    def __init__(self, requests: Sequence[Request] = ()) -> None:
        self.requests = requests

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def __len__(self) -> int:
        return len(self.requests)


class _Reader(Dataset[tuple[Batch, list[Broken]]]):
    """Request -> Batch, and which of its images are broken and stand there in mid-grey; runs in the workers.

    Args:
        timeout_s: how long a batch may take; the image that is waited for is named.
    """

    def __init__(
        self, images: ImageSet, view: RandomView | FeatureView, num_workers: int, timeout_s: float | None
    ) -> None:
        self.images = images
        self.view = view
        self.timeout_s = timeout_s
        self.at = RawArray("q", max(1, num_workers))  # 1 + the image that each worker reads now; 0: none

    def __getitem__(self, request: Request) -> tuple[Batch, list[Broken]]:
        if self.timeout_s is None or get_worker_info() is not None or isinstance(self.images, MemoryImages):
            return self._read(request)  # in a worker it is the DataLoader that waits
        name = self.named(range(1))
        return in_threads([request], self._read, n_threads=1, timeout_s=self.timeout_s, name=lambda _: name())[0]

    def named(self, workers: Iterable[int]) -> Callable[[], str]:
        """A function that names the images which these workers are reading when it is called."""
        return lambda: ", ".join(repr(self.images.samples[self.at[w] - 1]) for w in workers if self.at[w]) or "a batch"

    def _read(self, request: Request) -> tuple[Batch, list[Broken]]:
        worker = get_worker_info()
        place = 0 if worker is None else worker.id
        view, draws = self.view, torch.empty(len(request.indices), 0)
        if request.seeds and not isinstance(view, FeatureView):
            draws = torch.cat([view.draw(n, torch.Generator().manual_seed(seed)) for seed, n in request.seeds])
        if not view.on_files and isinstance(self.images, MemoryImages):
            return Batch(self.images.images[request.indices], request.indices, draws), []
        crops: list[Tensor] = []
        broken: list[Broken] = []
        for i, numbers in zip(request.indices.tolist(), draws, strict=True):
            self.at[place] = i + 1
            shrink = view.shrink if isinstance(view, FeatureView) else partial(view.shrink, draws=numbers)
            try:
                image = read_shrunk(self.images, i, shrink)
            except BrokenImage as error:
                broken.append(Broken(i, error.reason, isinstance(error, UnreadableImage)))
                # cropped as any other: a view may cut several crops
                image = whole(torch.full((self.images.n_channels, view.size, view.size), 128, dtype=torch.uint8))
            self.at[place] = 0
            crops.append(view.crop_file(image) if isinstance(view, FeatureView) else view.crop_file(image, numbers))
        return Batch(torch.stack(crops), request.indices, draws), broken


class EpochLoader:
    """The training batches of one epoch after another, in the recipe that Lightning 2.6 resumes exactly.

    `__iter__` is a generator: nothing is drawn or read before the first batch is asked for, when
    `before_epoch` has reassigned and says what to show. The same DataLoader serves all epochs; only its plan
    changes.

    Every rank shows indices[rank::world_size], cut to equal length. A last batch of one image, on which
    BatchNorm cannot train, joins the batch before it.

    Args:
        images: the set.
        view: the training view; if it is `on_files`, workers crop.
        n_per_epoch: how many indices `before_epoch` gives, on all ranks together; constant.
        seed: of the crops and flips; epoch, batch and rank are mixed in, so the number of workers changes
            nothing.
        before_epoch: called when an epoch starts; gives its number and its indices (n_per_epoch,), equal on
            all ranks.
    """

    def __init__(
        self,
        images: ImageSet,
        view: RandomView,
        *,
        batch_size: int,
        num_workers: int,
        persistent_workers: bool,
        seed: int,
        n_per_epoch: int,
        before_epoch: Callable[[], tuple[int, Tensor]],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if n_per_epoch < 2 * world_size:
            raise ValueError(f"an epoch of {n_per_epoch} images is too short for {world_size} processes")
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.n_per_epoch = n_per_epoch
        self.before_epoch = before_epoch
        self.rank = rank
        self.world_size = world_size
        self.epoch = -1
        self.batches_done = 0
        self.images_before = 0
        self._restored: tuple[int, int, int] | None = None
        self._plan = _Plan()
        self._loader: _Loader | None = _data_loader(images, view, self._plan, num_workers, persistent_workers)

    def close(self) -> None:
        """End persistent workers now; left to the garbage collector, each of them takes 5 s to end."""
        self._loader = None

    def __len__(self) -> int:
        """Batches per epoch and rank, always the same."""
        return len(_cuts(self.n_per_epoch // self.world_size, self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        for batch, _ in self.groups(1):
            self.batches_done += 1
            yield batch

    def groups(self, n: int) -> Iterator[tuple[Batch, list[int]]]:
        """The epoch's batches, n at a time as one, and their sizes; the caller counts them in `batches_done`."""
        epoch, indices = self.before_epoch()
        assert len(indices) == self.n_per_epoch, f"expected {self.n_per_epoch} indices, got {len(indices)}"
        self.images_before = done = 0
        if self._restored is not None:
            stored, images_before, batches_done = self._restored
            # A checkpoint at an epoch's last batch leads on to the next epoch, which starts at its beginning.
            if stored in (epoch, -1) and batches_done < len(self):
                self.images_before, done = images_before, batches_done
            self._restored = None
        requests = self._requests(epoch, indices)
        first = len(self) - len(requests)  # 0, unless another number of processes began this epoch
        self.epoch, self.batches_done = epoch, max(first, done)
        left = requests[self.batches_done - first :]
        self._plan.requests = groups = [_joined(left[start : start + n]) for start in range(0, len(left), n)]
        sizes = [[size for _, size in group.seeds] for group in groups]
        assert self._loader is not None, "the loader is closed"
        yield from zip(_batches(self._loader, self.images), sizes, strict=True)

    def _requests(self, epoch: int, indices: Tensor) -> list[Request]:
        rest = indices[self.images_before :]
        mine = rest[self.rank :: self.world_size][: len(rest) // self.world_size]
        cuts = _rest_cuts(len(rest), self.batch_size, self.world_size, whole=self.images_before == 0)
        first = len(self) - len(cuts)
        return [
            Request(mine[start:stop], [(mix(self.seed, "crops", epoch, number, self.rank), stop - start)])
            for number, (start, stop) in enumerate(cuts, start=first)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Where the data stands: the epoch, and how many of its batches were given out on each rank.

        `images_before`: how many images of the epoch another number of processes has shown before.
        """
        return {
            "epoch": self.epoch,
            "batches_done": self.batches_done,
            "n_batches": len(self),
            "world_size": self.world_size,
            "images_before": self.images_before,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next epoch to start, if it is the saved one, goes on after the images that were shown."""
        state = moved(state, self.n_per_epoch, self.batch_size, self.world_size)
        self.images_before = int(state.get("images_before", 0))
        self.epoch, self.batches_done = int(state.get("epoch", -1)), int(state["batches_done"])
        self._restored = (self.epoch, self.images_before, self.batches_done)


def moved(state: dict[str, Any], n_per_epoch: int, batch_size: int, world_size: int) -> dict[str, Any]:
    """A loader's state as another number of processes goes on from it: the same images are done.

    After b batches, G processes with every G-th image each have shown the first images of the epoch's order, without
    a gap. What is left is dealt out anew. Batches are counted so that the last one is the epoch's last.

    Args:
        state: of :meth:`EpochLoader.state_dict`.
        world_size: the new number of processes.
    """
    old_size = state.get("world_size", world_size)
    if old_size == world_size:
        return state
    n_batches = len(_cuts(n_per_epoch // world_size, batch_size))
    new = {**state, "n_batches": n_batches, "world_size": world_size, "images_before": 0, "batches_done": n_batches}
    if state["batches_done"] >= state["n_batches"]:  # the epoch is done
        return new
    before = state.get("images_before", 0)
    cuts = _rest_cuts(n_per_epoch - before, batch_size, old_size, whole=before == 0)
    n_shown = state["batches_done"] - (state["n_batches"] - len(cuts))
    new["images_before"] = before + (old_size * cuts[n_shown - 1][1] if n_shown > 0 else 0)
    # At least one batch is left, though a few images come twice: Lightning would else begin the epoch again.
    new["images_before"] = max(0, min(new["images_before"], n_per_epoch - 2 * world_size))
    left = _rest_cuts(n_per_epoch - new["images_before"], batch_size, world_size, whole=new["images_before"] == 0)
    new["batches_done"] = n_batches - len(left)
    return new


def feature_batches(
    images: ImageSet, view: FeatureView, indices: Tensor, batch_size: int, num_workers: int
) -> Iterator[Batch]:
    """These images in this order, for extraction; call the view on `batch.images`. Draws are (B, 0)."""
    if len(indices) == 0:  # torch.split makes one empty part of nothing
        return
    plan = _Plan([Request(part, []) for part in torch.split(indices, batch_size)])
    yield from _batches(_data_loader(images, view, plan, num_workers, persistent_workers=False), images)


def random_batches(
    images: ImageSet,
    view: RandomView,
    indices: Tensor,
    batch_size: int,
    num_workers: int,
    seed: int,
    *,
    joins_last: bool = False,
) -> Iterator[Batch]:
    """These images in this order, with random numbers: functions of seed and batch.

    Args:
        joins_last: a last batch of one image joins the batch before it, for a network in training mode (BatchNorm).
    """
    parts = list(torch.split(indices, batch_size))
    if joins_last:
        parts = [indices[start:stop] for start, stop in _cuts(len(indices), batch_size)]
    plan = _Plan([Request(part, [(mix(seed, "crops", number), len(part))]) for number, part in enumerate(parts)])
    yield from _batches(_data_loader(images, view, plan, num_workers, persistent_workers=False), images)


def _batches(loader: _Loader, images: ImageSet) -> Iterator[Batch]:
    batches = iter(loader)
    while True:
        try:
            batch, broken = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            reader = loader.dataset
            assert isinstance(reader, _Reader)
            if reader.timeout_s is not None and "timed out" in str(error):
                waited_for = reader.named(range(loader.num_workers))()
                raise TimeoutError(hung_message(waited_for, reader.timeout_s)) from error
            raise
        except (ValueError, OSError) as error:
            if (own_error := _as_in_the_worker(error)) is None:
                raise
            raise own_error from error
        if broken:
            note_broken(images, broken)
        yield batch


def _as_in_the_worker(error: ValueError | OSError) -> Exception | None:
    """An error of a reading process, without the traceback that torch puts into its message; None of other errors."""
    if not str(error).startswith(f"Caught {type(error).__name__} in DataLoader worker"):
        return None
    parts = re.split(rf"^(?:\w+\.)*{type(error).__name__}: ", str(error), flags=re.MULTILINE)
    kind = OSError if isinstance(error, OSError) else ValueError  # whose subclasses may take other arguments
    return kind(parts[-1].strip()) if len(parts) > 1 else None


def worker_died(error: RuntimeError) -> ChildProcessError | None:
    """What to tell of a reading process that was killed; None of other errors.

    torch notices it by a signal, so its error comes from whatever line runs at that moment.
    """
    if not str(error).startswith("DataLoader worker (pid"):
        return None
    return ChildProcessError(
        f"a process that reads images ended: {str(error).splitlines()[0].rstrip('. ')}. Often the system ends one for "
        "want of memory (reading.num_workers=N or reading.batch_size=B lower takes less)"
    )


def _end_at_sigterm(worker: int) -> None:
    """In a worker: SIGTERM ends it, also while it waits for a disk; a handler that it inherits would wait."""
    stop_signals.end_with_parent()


def n_workers(num_workers: int | None, images: ImageSet, *, batch_size: int, size: int, n_processes: int = 1) -> int:
    """reading.num_workers, or what suits: none for a set in memory, one per core of this process for files.

    Args:
        batch_size: of the largest batch that reading processes hand over, in shared memory: in crops.
        size: side of the crops in pixels.

    Raises:
        ValueError: if the batches do not fit there: writing them would end a process with "Bus error".
    """
    if isinstance(images, MemoryImages):
        return num_workers or 0
    n = max(1, min(8, n_cores() // n_processes)) if num_workers is None else num_workers
    batch_bytes = batch_size * images.n_channels * size**2  # uint8
    free, needed = free_shared_memory(), (PREFETCHED * n + 1) * batch_bytes * n_processes
    if n == 0 or free is None or needed <= free:
        return n
    shortage = f"{n} reading processes need about {in_gb(needed)} of shared memory, {in_gb(free)} are free in /dev/shm"
    way_out = "give the container more: docker run --shm-size=8g, or --ipc=host"
    if num_workers is not None:
        raise ValueError(f"{shortage}; lower reading.num_workers (0 needs none) or the batch sizes, or {way_out}")
    fitting = max(0, int(free / (n_processes * batch_bytes) - 1) // PREFETCHED)
    _log.warning("%s: this run takes %d (0 reads in the run's own process); %s", shortage, fitting, way_out)
    return fitting


def _rest_cuts(n_images: int, batch_size: int, world_size: int, *, whole: bool) -> list[tuple[int, int]]:
    """The batches of each of G processes in what an epoch has left; a single image each is left out (BatchNorm)."""
    n = n_images // world_size
    return _cuts(n, batch_size) if whole or n > 1 else []


def _joined(requests: list[Request]) -> Request:
    return Request(torch.cat([one.indices for one in requests]), [pair for one in requests for pair in one.seeds])


def _cuts(n: int, batch_size: int) -> list[tuple[int, int]]:
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


def _data_loader(
    images: ImageSet, view: RandomView | FeatureView, plan: _Plan, num_workers: int, persistent_workers: bool
) -> _Loader:
    if not view.on_files and not isinstance(images, MemoryImages):
        raise ValueError("images on disk differ in size and must be cropped by workers: build the view with on_files")
    timeout_s: float | None = getattr(images, "timeout_s", None)
    return DataLoader(
        _Reader(images, view, num_workers, timeout_s),
        batch_size=None,
        sampler=plan,  # with batch_size=None whatever it gives is handed to the reader as it is
        num_workers=num_workers,
        persistent_workers=persistent_workers and num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        timeout=timeout_s or 0 if num_workers > 0 else 0,
        worker_init_fn=_end_at_sigterm,
        generator=torch.Generator(),  # the workers' base seed would else be drawn from the global state
    )
