"""Groups of weights for an optimizer, and the rate of each step. Next: module.py gives both to Lightning."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deepcluster.models.backbone import Backbone
from deepcluster.models.stage_modules import stage_modules
from deepcluster.training.optimizer import OptimizerSettings


def weight_groups(
    backbone: Backbone, others: Sequence[nn.Module], head: nn.Module, settings: OptimizerSettings
) -> list[dict[str, Any]]:
    """Weights that learn alike, together: first those at the full rate, second the head's, then what differs.

    With one rate and one decay for all these are the 2018 code's two optimizers (docs/design.md, contract 5).

    Args:
        backbone: its frozen weights are left out.
        others: trained modules between backbone and head, or beside them.
    """
    distances = _distances(backbone) if settings.layer_decay < 1 else {}
    groups: dict[tuple[bool, str], dict[str, Any]] = {}

    def group(of_head: bool, *, of_vectors: bool = False, distance: int = 0) -> list[nn.Parameter]:
        options = settings.options(of_head=of_head, of_vectors=of_vectors)
        options["lr"] = settings.lr * settings.layer_decay**distance
        members: list[nn.Parameter] = groups.setdefault((of_head, str(options)), {"params": [], **options})["params"]
        return members

    group(False), group(True)
    weights = [weight for part in (backbone, *others) for weight in part.parameters() if weight.requires_grad]
    for weight in weights:
        group(False, of_vectors=weight.ndim <= 1, distance=distances.get(weight, 0)).append(weight)
    for weight in head.parameters():
        group(True, of_vectors=weight.ndim <= 1).append(weight)
    return list(groups.values())


class LearningRate(LRScheduler):
    """Sets each group's rate at each step to a share of its first one; its only state is the number of steps done.

    Args:
        share: step, from 0 -> share.
    """

    def __init__(self, optimizer: Optimizer, share: Callable[[int], float]) -> None:
        self.share = share  # before the constructor, which sets the first rate
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        return [first * self.share(self.last_epoch) for first in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a step; also of torch's CosineAnnealingLR, which older checkpoints hold."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


def _distances(backbone: Backbone) -> dict[nn.Parameter, int]:
    """How many stages lie between each weight and the head, with its own."""
    layers = [[w for m in modules for w in m.parameters(recurse=False)] for modules in stage_modules(backbone).values()]
    layers = [weights for weights in layers if weights]
    return {weight: distance for distance, layer in enumerate(reversed(layers), start=1) for weight in layer}
