"""The group `monitor`: how a run is watched; health_check.py does it. Imports nothing heavy (settings/train.py)."""

from dataclasses import dataclass

from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class Monitor:
    """How a run is watched while it trains. It changes no number that is learned.

    Args:
        every_n_epochs: epochs between two looks at two random crops each of some images; null: none. Collapsed clusters
            are looked for at every reassignment all the same.
        n_images: how many images are looked at, the same ones in the whole run.
        stops: end a run whose network has collapsed; false only warns.
    """

    every_n_epochs: int | None = setting(5, at_least=1, hint="null looks never", may_change=True)
    n_images: int = setting(500, at_least=10, may_change=True)
    stops: bool = setting(True, may_change=True)

    def __post_init__(self) -> None:
        check(self, "monitor")
