"""How often a run is saved; checkpointing.py does it. Imports nothing heavy: the config is composed from this file."""

from dataclasses import dataclass

from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class Checkpointing:
    """How often the run's state is written to checkpoints/last.ckpt.

    Args:
        every_n_epochs: epochs between two checkpoints; the last epoch always has one.
        every_n_steps: steps between two checkpoints within an epoch, for epochs of hours; null: none within an epoch.
        keep_previous: keep the checkpoint before the last as checkpoints/previous.ckpt. A run is resumed from it if
            the last one is damaged. It doubles the disk space.
    """

    every_n_epochs: int = setting(1, at_least=1, may_change=True)
    every_n_steps: int | None = setting(None, at_least=1, hint="null saves at the ends of epochs only", may_change=True)
    keep_previous: bool = setting(True, may_change=True)

    def __post_init__(self) -> None:
        check(self, "checkpoint")
