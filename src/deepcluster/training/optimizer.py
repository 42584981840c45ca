"""The settings of the optimizer; module.py builds it. Imports nothing heavy: the config is composed from this file."""

from dataclasses import dataclass

from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class Optimizer:
    """SGD as in the 2018 code: the backbone with momentum, the head without, as its optimizer was new each epoch.

    Args:
        lr: learning rate (original: 0.05, constant).
        momentum: of the backbone (original: 0.9).
        head_momentum: of the head; each reassignment resets its momentum buffer (original: 0).
        weight_decay: of backbone and head (original: 1e-5).
        schedule: "constant" as in the original, or "cosine" from lr to 0 over trainer.max_epochs.
    """

    lr: float = setting(0.05, above=0)
    momentum: float = setting(0.9, at_least=0, below=1)
    head_momentum: float = setting(0.0, at_least=0, below=1)
    weight_decay: float = setting(1e-5, at_least=0)
    schedule: str = setting("constant", one_of=("constant", "cosine"))

    def __post_init__(self) -> None:
        check(self, "optimizer")
