"""The training loop on labels, which continues where it was stopped. For the 2018 probe, fine-tuning and VOC 2007."""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import Batch, EpochLoader
from deepcluster.data.views import TrainView
from deepcluster.evaluation.context import ProgressDisplay
from deepcluster.evaluation.kept_work import KeptWork
from deepcluster.system.seeding import generator, mix

Inputs = TypeVar("Inputs")
Inputs_co = TypeVar("Inputs_co", covariant=True)


class Indexed(Protocol):
    """A batch: it tells the indices (B,) of its images in the set."""

    @property
    def indices(self) -> Tensor: ...


class Batches(Protocol[Inputs_co]):
    """The batches of a training; batch t depends only on the seed and t.

    Attributes:
        n_per_epoch: batches in which all images are shown once.
        seed: of the order and of what is drawn.
    """

    n_per_epoch: int
    seed: int

    def start_at(self, step: int) -> Generator[Any]:
        """The batches from `step` on, each :class:`Indexed`; never ends."""
        ...

    def inputs(self, batch: Any, device: torch.device) -> Inputs_co:
        """What the network is given of a batch."""
        ...

    def close(self) -> None: ...


class TrainingBatches:
    """The batches of a training. Each epoch shows all images in a new order and in new crops.

    Batch t depends only on the seed and t, so a training can start at any batch.

    Args:
        images, indices: the set, and the images (n,) of it to learn from.
        view: how images are cropped.
    """

    def __init__(
        self, images: ImageSet, indices: Tensor, view: TrainView, *, batch_size: int, num_workers: int, seed: int
    ) -> None:
        self.indices, self.view, self.seed = indices, view, seed
        self.epoch = 0
        self.loader = EpochLoader(
            images,
            view,
            batch_size=batch_size,
            num_workers=num_workers,
            persistent_workers=True,
            seed=seed,
            n_per_epoch=len(indices),
            before_epoch=self._order,
        )
        self.n_per_epoch = len(self.loader)

    def _order(self) -> tuple[int, Tensor]:
        shuffled = torch.randperm(len(self.indices), generator=generator(self.seed, "order", self.epoch))
        return self.epoch, self.indices[shuffled]

    def start_at(self, step: int) -> Generator[Batch]:
        """The batches from `step` on; never ends."""
        self.epoch, within = divmod(step, self.n_per_epoch)
        self.loader.load_state_dict({"epoch": self.epoch, "batches_done": within})
        while True:
            yield from self.loader
            self.epoch += 1

    def inputs(self, batch: Batch, device: torch.device) -> Tensor:
        """Normalised crops (B, C, H, W)."""
        return self.view(batch.images.to(device, non_blocking=True), batch.draws)

    def close(self) -> None:
        self.loader.close()


@dataclass(kw_only=True)
class Supervised(Generic[Inputs]):
    """One training on labels.

    The state is saved after each part: an epoch, or `state_every` steps. Batches, crops and dropout depend only on
    the seed and the step. So a training that was stopped and continued ends with the same weights as one that was not
    stopped, bit for bit on a CPU.

    Args:
        network: its state_dict is saved; its train() is called before each part.
        optimizer: of the network's parameters.
        rate: gives a group's learning rate from its initial rate and the step, counted from 0.
        loss: gives the mean loss of a batch's inputs, as normalised images (B, C, H, W), with their indices (B,).
        batches: what is learned from, and the seed.
        n_steps: number of steps in all.
        row: called after each part with the epochs or steps done so far and the part's mean loss; gives a row of the
            history.
        kept_work, name: where the state is saved, and under which name.
        title: for the progress bar and messages.
        state_every: steps in a part; progress is then counted in iterations. None: a part is an epoch, and progress
            is counted in epochs.
        max_grad_norm: gradients are clipped to this norm; None: not clipped.
        advice: the settings to lower if the training diverges, for the message.
        length_key: the setting of the length of the training, for the message.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    rate: Callable[[float, int], float]
    loss: Callable[[Inputs, Tensor], Tensor]
    batches: Batches[Inputs]
    n_steps: int
    row: Callable[[int, float], dict[str, float]]
    device: torch.device
    kept_work: KeptWork
    name: str
    title: str
    progress: ProgressDisplay
    state_every: int | None = None
    max_grad_norm: float | None = None
    advice: str = "evaluation.lr"
    length_key: str = "evaluation.epochs"

    def fit(self) -> list[dict[str, float]]:
        """Train to the last step.

        Returns:
            The history: the rows of all parts.

        Raises:
            ValueError: if the loss is not finite, or the saved state belongs to another training.
        """
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        done, history = self._restore()
        n_part = self.state_every or self.batches.n_per_epoch
        random_numbers = torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])
        with closing(self.batches), closing(self.batches.start_at(done)) as batches, random_numbers:
            while done < self.n_steps:
                end = min(self.n_steps, (done // n_part + 1) * n_part)
                loss = self._train(islice(batches, end - done), done, end)
                history.append(self.row(self._count(end), loss))
                done = end
                state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
                self.kept_work.write(self.name, {**state, "history": history, "steps": done})
        return history

    def _train(self, batches: Iterator[Indexed], start: int, end: int) -> float:
        """Train one part, the steps from `start` to `end`; returns the mean loss over its images.

        Raises:
            ValueError: if it is not finite.
        """
        self.network.train()
        total, n_images = torch.zeros((), device=self.device), 0
        title = f"{self.title}, {self._unit} {self._count(end):,}/{self._count(self.n_steps):,}"
        with self.progress.bar(title, end - start, "batch") as advance:
            for step, batch in enumerate(batches, start):
                for group in self.optimizer.param_groups:
                    group["lr"] = self.rate(group["initial_lr"], step)
                place = divmod(step, self.batches.n_per_epoch) if self.state_every is None else (step,)
                torch.manual_seed(mix(self.batches.seed, "dropout", *place))
                loss = self.loss(self.batches.inputs(batch, self.device), batch.indices)
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if self.max_grad_norm is not None:
                    trainable = [weight for group in self.optimizer.param_groups for weight in group["params"]]
                    nn.utils.clip_grad_norm_(trainable, self.max_grad_norm)
                self.optimizer.step()
                total += loss.detach() * len(batch.indices)
                n_images += len(batch.indices)
                advance(1)
        mean = float(total) / n_images
        if not math.isfinite(mean):
            raise ValueError(
                f"{self.title}: the loss is {mean} in {self._unit} {self._count(end):,}: the training has diverged; "
                f"lower {self.advice}"
            )
        return mean

    @property
    def _unit(self) -> str:
        return "epoch" if self.state_every is None else "iteration"

    def _count(self, step: int) -> int:
        """Steps as the user counts them: in epochs or iterations."""
        return step // self.batches.n_per_epoch if self.state_every is None else step

    def _restore(self) -> tuple[int, list[dict[str, float]]]:
        """Load the state of a stopped training; returns its steps and history, 0 and [] for a new training."""
        state: dict[str, Any] | None = self.kept_work.read(self.name, on=self.device)
        if state is None:
            return 0, []
        done = int(state["steps"])
        if done > self.n_steps:
            raise ValueError(
                f"{self.kept_work.file(self.name)} has trained {self._count(done):,} {self._unit}s already, "
                f"{self.length_key}={self._count(self.n_steps):,} is less; raise it or choose another output_dir"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if done < self.n_steps:
            self.progress.say(
                f"{self.title}: continuing after {self._unit} {self._count(done):,} of {self._count(self.n_steps):,}"
            )
        return done, state["history"]
