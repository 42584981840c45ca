"""The group `optimizer`: how weights follow gradients. Read without importing torch. Next: optimizers.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(kw_only=True)
class OptimizerSettings:
    """What all kinds have: the rate and its way over the run, weight decay, and how much each part learns.

    Args:
        kind: its name, by which a stored config finds this class.
        lr: learning rate.
        weight_decay: of all weights, or of the matrices alone.
        decay_norms_and_biases: also let norms and biases decay, that is all weights of one dimension.
        schedule: "constant", or "cosine" from lr to its end over trainer.max_epochs.
        final_share: where the cosine ends, as a share of lr.
        warmup_epochs: the rate rises linearly to lr over so many epochs, before the schedule.
        warmup_start_share: where it begins, as a share of lr.
        layer_decay: each stage learns at this share of the rate of the stage behind it (Howard and Ruder 2018, section
            3.2; 1: all alike). For pretrained starts, whose first stages need less change.
        frozen_stages: stages that stay as they start, with the statistics of their BatchNorm: how many of the first
            ones, or a list of names.
    """

    ABSENT: ClassVar[dict[str, str]] = {}

    kind: str
    lr: float = setting(0.05, above=0)
    weight_decay: float = setting(1e-5, at_least=0)
    decay_norms_and_biases: bool = False
    schedule: str = setting("constant", one_of=("constant", "cosine"))
    final_share: float = setting(0.0, at_least=0, at_most=1)
    warmup_epochs: float = setting(0.0, at_least=0)
    warmup_start_share: float = setting(0.0, at_least=0, at_most=1)
    layer_decay: float = setting(1.0, above=0, at_most=1)
    frozen_stages: Any = setting(0, at_least=0)

    def __post_init__(self) -> None:
        check(self, "optimizer")
        stages = self.frozen_stages
        named = isinstance(stages, Sequence) and all(isinstance(name, str) for name in stages)
        if isinstance(stages, str | bool) or not (named or isinstance(stages, int)):
            raise ValueError(
                f"optimizer.frozen_stages must be a number of stages or a list of their names, such as [conv1,conv2], "
                f"got {stages!r}"
            )

    def check_epochs(self, max_epochs: int) -> None:
        """Refuse a warm-up that would not end.

        Raises:
            ValueError: naming both keys.
        """
        if self.warmup_epochs >= max_epochs > 0 and self.warmup_epochs > 0:
            raise ValueError(
                f"optimizer.warmup_epochs={self.warmup_epochs:g} must be below trainer.max_epochs={max_epochs}: the "
                "rate would never reach optimizer.lr"
            )

    def share_of_lr(self, step: int, *, n_steps: int, steps_per_epoch: float) -> float:
        """The rate of a training step, from 0, as a share of lr.

        Args:
            n_steps: of the whole run.
        """
        n_warmup = self.warmup_epochs * steps_per_epoch
        if step < n_warmup:
            return self.warmup_start_share + (1 - self.warmup_start_share) * step / n_warmup
        if self.schedule == "constant":
            return 1.0
        done = min(1.0, (step - n_warmup) / max(1.0, n_steps - n_warmup))
        return self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * done)) / 2

    def options(self, *, of_head: bool, of_vectors: bool) -> dict[str, Any]:
        """What the optimizer is told of a group of weights.

        Args:
            of_head: they are the head's.
            of_vectors: they have at most one dimension: biases and norms.
        """
        return {"weight_decay": 0.0 if of_vectors and not self.decay_norms_and_biases else self.weight_decay}

    def states(self, *, of_head: bool) -> int:
        """Numbers that the optimizer keeps of each weight."""
        raise NotImplementedError

    def build(self, groups: list[dict[str, Any]], *, fused: bool) -> Optimizer:
        """The optimizer of these groups of weights (optimizers.py).

        Args:
            fused: with torch's fused kernels, where the kind has them.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class SGDSettings(OptimizerSettings):
    """SGD as in the 2018 code: the backbone with momentum, the head without, as its optimizer was new each epoch.

    Args:
        kind: "sgd".
        lr: (original: 0.05, constant).
        weight_decay: of backbone and head (original: 1e-5).
        decay_norms_and_biases: (original: true).
        momentum: of the backbone (original: 0.9).
        head_momentum: of the head; each reassignment resets its momentum buffer (original: 0).
    """

    kind: str = "sgd"
    decay_norms_and_biases: bool = True
    momentum: float = setting(0.9, at_least=0, below=1)
    head_momentum: float = setting(0.0, at_least=0, below=1)

    def options(self, *, of_head: bool, of_vectors: bool) -> dict[str, Any]:
        momentum = self.head_momentum if of_head else self.momentum
        return {**super().options(of_head=of_head, of_vectors=of_vectors), "momentum": momentum}

    def states(self, *, of_head: bool) -> int:
        return int((self.head_momentum if of_head else self.momentum) > 0)

    def build(self, groups: list[dict[str, Any]], *, fused: bool) -> Optimizer:
        from torch.optim import SGD

        return SGD(groups, lr=self.lr, fused=fused)


@dataclass(kw_only=True)
class AdamWSettings(OptimizerSettings):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Args:
        kind: "adamw".
        lr: learning rate.
        weight_decay: times the rate, it is subtracted from the weights: about 10,000 times that of SGD.
        betas: how much of their past the means of gradients and of their squares keep.
    """

    ABSENT: ClassVar[dict[str, str]] = {
        "momentum": "AdamW's is the first of optimizer.betas",
        "head_momentum": "AdamW treats the head as all weights",
    }

    kind: str = "adamw"
    lr: float = setting(1e-3, above=0)
    weight_decay: float = setting(0.05, at_least=0)
    betas: list[float] = setting([0.9, 0.999], at_least=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.betas) != 2:
            raise ValueError(f"optimizer.betas must be two numbers, such as [0.9,0.999], got {list(self.betas)}")

    def states(self, *, of_head: bool) -> int:
        return 2

    def build(self, groups: list[dict[str, Any]], *, fused: bool) -> Optimizer:
        from torch.optim import AdamW

        return AdamW(groups, lr=self.lr, betas=(self.betas[0], self.betas[1]), fused=fused)


@dataclass(kw_only=True)
class LARSSettings(OptimizerSettings):
    """SGD whose rate fits the norm of each layer's weights (You et al. 2017), for large batches.

    The defaults are SwAV's recipe for batches of 256; its lr grows in proportion to the batch, to 4.8 at 4096, with a
    warm-up of 10 epochs.

    Args:
        kind: "lars".
        lr: learning rate, which is multiplied by trust_coefficient ||w|| / ||gradient with decay||.
        weight_decay: of all weights, or of the matrices alone.
        momentum: of all weights.
        trust_coefficient: the share of its norm by which a layer moves at lr 1.
        adapt_norms_and_biases: fit the rate of norms and biases too; false: they learn by plain SGD.
    """

    ABSENT: ClassVar[dict[str, str]] = {"head_momentum": "LARS treats the head as all weights"}

    kind: str = "lars"
    lr: float = setting(0.6, above=0)
    weight_decay: float = setting(1e-6, at_least=0)
    momentum: float = setting(0.9, at_least=0, below=1)
    trust_coefficient: float = setting(0.001, above=0)
    adapt_norms_and_biases: bool = False

    def options(self, *, of_head: bool, of_vectors: bool) -> dict[str, Any]:
        adapts = self.adapt_norms_and_biases or not of_vectors
        return {**super().options(of_head=of_head, of_vectors=of_vectors), "adapts": adapts}

    def states(self, *, of_head: bool) -> int:
        return int(self.momentum > 0)

    def build(self, groups: list[dict[str, Any]], *, fused: bool) -> Optimizer:
        from deepcluster.training.lars import LARS

        return LARS(groups, lr=self.lr, momentum=self.momentum, trust_coefficient=self.trust_coefficient)
