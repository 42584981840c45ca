"""A training on labels that goes on where it was stopped. For the 2018 probe, fine-tuning and VOC 2007."""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import Batch, EpochLoader
from deepcluster.data.views import TrainView
from deepcluster.evaluation.context import Teller
from deepcluster.evaluation.kept_work import KeptWork
from deepcluster.system.seeding import generator, mix


class TrainingBatches:
    """The batches of a training: each epoch shows all its images in its own order, in crops of its own.

    Batch t is a function of the seed and t alone, so a training may begin at any of them.

    Args:
        images, indices: the set, and which of its images are learned from.
        view: how they are cropped.
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
        """The batches from `step` on, without end."""
        self.epoch, within = divmod(step, self.n_per_epoch)
        self.loader.load_state_dict({"epoch": self.epoch, "batches_done": within})
        while True:
            yield from self.loader
            self.epoch += 1

    def close(self) -> None:
        self.loader.close()


@dataclass(kw_only=True)
class Supervised:
    """One training on labels.

    Batches, crops and dropout are functions of the seed and the step, and the state after each part is kept, so a
    training that was stopped and goes on gives the same weights as one that was not, bit for bit on a CPU.

    Args:
        network: only its state_dict is saved; its train() is called before each part.
        optimizer: of its parameters; each group's "initial_lr" is set to its rate at the start.
        rate: from a group's initial rate and the step, from 0, to its rate.
        loss: of normalised images (B, C, H, W) with their indices (B,), mean over the images.
        batches: what is learned from, and the seed.
        n_steps: steps in all.
        state_every: steps of a part; None: a part is an epoch, and steps are not counted for the user but epochs.
        row: called after a part with its number of epochs or steps and its mean loss; gives a row of the history.
        max_grad_norm: gradients are cut to this length; None: as they are.
        kept, name: where the state is kept.
        title: for the progress bar and messages.
        advice: what to lower if the training diverges.
        length_key: the setting that says how long is trained.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    rate: Callable[[float, int], float]
    loss: Callable[[Tensor, Tensor], Tensor]
    batches: TrainingBatches
    n_steps: int
    row: Callable[[int, float], dict[str, float]]
    device: torch.device
    kept: KeptWork
    name: str
    title: str
    progress: Teller
    state_every: int | None = None
    max_grad_norm: float | None = None
    advice: str = "evaluation.lr"
    length_key: str = "evaluation.epochs"

    def fit(self) -> list[dict[str, float]]:
        """Train to the last step.

        Returns:
            A row for each part, see `row`.

        Raises:
            ValueError: if the loss is not finite, or the kept state is another training's.
        """
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        done, history = self._restore()
        n_part = self.state_every or self.batches.n_per_epoch
        started = self.batches.start_at(done)
        with closing(self.batches), closing(started) as batches, _own_random_numbers(self.device):
            while done < self.n_steps:
                end = min(self.n_steps, (done // n_part + 1) * n_part)
                loss = self._train(islice(batches, end - done), done, end)
                history.append(self.row(self._count(end), loss))
                done = end
                state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
                self.kept.write(self.name, {**state, "history": history, "steps": done})
        return history

    def _train(self, batches: Iterator[Batch], start: int, end: int) -> float:
        """The steps of one part; their mean loss over the images.

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
                torch.manual_seed(mix(self.batches.seed, "dropout", *self._place(step)))
                images = self.batches.view(batch.images.to(self.device, non_blocking=True), batch.draws)
                loss = self.loss(images, batch.indices)
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if self.max_grad_norm is not None:
                    learned = [weight for group in self.optimizer.param_groups for weight in group["params"]]
                    nn.utils.clip_grad_norm_(learned, self.max_grad_norm)
                self.optimizer.step()
                total += loss.detach() * len(batch.indices)
                n_images += len(batch.indices)
                advance(1)
        mean = float(total) / n_images
        if not math.isfinite(mean):
            raise ValueError(
                f"{self.title}: the loss is {mean} in {self._unit} {self._count(end):,}: training has diverged; "
                f"lower {self.advice}"
            )
        return mean

    @property
    def _unit(self) -> str:
        return "epoch" if self.state_every is None else "iteration"

    def _count(self, step: int) -> int:
        """Epochs or iterations after so many steps."""
        return step // self.batches.n_per_epoch if self.state_every is None else step

    def _place(self, step: int) -> tuple[int, ...]:
        """What dropout's seed is drawn from: epoch and batch, or the iteration."""
        return divmod(step, self.batches.n_per_epoch) if self.state_every is None else (step,)

    def _restore(self) -> tuple[int, list[dict[str, float]]]:
        """Steps and history of a training that was stopped, its state taken over; 0 and nothing for a new one."""
        state: dict[str, Any] | None = self.kept.read(self.name, on=self.device)
        if state is None:
            return 0, []
        done = int(state["steps"])
        if done > self.n_steps:
            raise ValueError(
                f"{self.kept.file(self.name)} has {self._count(done):,} {self._unit}s behind it, "
                f"{self.length_key}={self._count(self.n_steps):,} is less; raise it or choose another output_dir"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if done < self.n_steps:
            self.progress.say(
                f"{self.title}: going on after {self._unit} {self._count(done):,} of {self._count(self.n_steps):,}"
            )
        return done, state["history"]


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """Seeds that the training sets do not reach the rest of the program."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
