"""How a new network's weights start: the config group `init`. run.py applies one before the first features.

Each way is a settings dataclass; config.py's OPTIONS names them.
"""

from dataclasses import dataclass
from typing import Any

from deepcluster import checkpoint
from deepcluster.data.images import ImageSet
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates


@dataclass(kw_only=True)
class Init:
    """A way to start. The network that it is given was drawn at random already, by its own law.

    Args:
        kind: its name, by which a stored config finds the class again.
    """

    kind: str

    def apply(self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int) -> list[str]:
        """Change the weights in place.

        Args:
            card: the network's description (checkpoint.py).
            images: the training images.
            seed: of the run.

        Returns:
            Lines to tell the user: what was done.

        Raises:
            ValueError: if it cannot be done to this network, before anything long starts.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class RandomInit(Init):
    """He fan-out, as in the original (or the network's own law).

    Args:
        kind: "random".
    """

    kind: str = "random"

    def apply(self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int) -> list[str]:
        if isinstance(backbone, Coates):
            raise ValueError("init=random gives arch=coates no centroids; set init=kmeans_patches, which learns them")
        return []


@dataclass(kw_only=True)
class CheckpointInit(Init):
    """The backbone of another run.

    Args:
        kind: "checkpoint".
        path: a run's folder or its checkpoint, of the same architecture.
    """

    kind: str = "checkpoint"
    path: str

    def apply(self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int) -> list[str]:
        checkpoint.load_backbone(backbone, checkpoint.load(self.path), card)
        return []
