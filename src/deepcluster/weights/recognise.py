"""Read any file of weights: recognise its format by its content. Next: fit.py."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.weights import checkpoint, exported, layouts, onnx_start, released
from deepcluster.weights.files import CLUSTERS, EXPORTED, find_weights

# Of DeepCluster-v2's release and its siblings, with their own std of red (original: swav, src/multicropdataset.py).
V2_STD = [0.228, 0.224, 0.225]
BUNDLE = "bundle"  # the format of a folder that holds a network and its clusters
V2_HEADS = ("projection_head.", "prototypes.")


@dataclass(kw_only=True)
class Weights:
    """A file's weights and all it tells of their network.

    Args:
        path: the file.
        format: the recognised format, in words.
        tensors: by the file's names, without DataParallel's `module.`.
        card: the network's description (checkpoint.py); None if the file does not tell its architecture.
        epoch: epochs trained; 0 if the file does not tell.
        head: the last layer's rows, weight (K, D) and bias (K,); in our checkpoints and 2018 files only.
        assignment: the last assignment; in our checkpoints and bundles only.
        others: the labelings after the first; in our checkpoints only.
        notes: lines for who trains with it; of an ONNX file only.
    """

    path: Path
    format: str
    tensors: dict[str, Tensor]
    card: dict[str, Any] | None = None
    epoch: int = 0
    head: tuple[Tensor, Tensor] | None = None
    assignment: Assignment | None = None
    others: list[checkpoint.Labeling] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """The folder of the bundle, or of the run, whose file it is."""
        return self.path.parent if self.format == BUNDLE else self.path.parent.parent

    def of_labeling(self, number: int) -> "Weights":
        """The same network with the clusters and the head of another labeling, counted from 0.

        Raises:
            ValueError: if there is none of that number.
        """
        if number == 0:
            return self
        if number > len(self.others):
            n = 1 + len(self.others)
            raise ValueError(
                f"evaluation.head={number} must be at most {n - 1}: {self.path} ({self.format}) holds {n} "
                f"labeling{'s' if n > 1 else ''}, counted from 0; lower it"
            )
        return replace(self, assignment=self.others[number - 1].assignment, head=self.others[number - 1].head)


def read_weights(path: str | Path) -> Weights:
    """Read a run's folder, an export's folder, or any file of weights.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, holds more than tensors and plain values, or holds no tensors.
    """
    file = find_weights(path)
    if file.suffix == exported.SUFFIX:
        tensors, card = exported.read_safetensors(file)
        if card is not None:
            return _exported(file, tensors, card)
        return _state_dict(file, tensors)
    if file.suffix == onnx_start.SUFFIX:
        tensors, card, notes = onnx_start.read_onnx(file)
        return Weights(path=file, format="ONNX file", tensors=tensors, card=card, notes=notes)
    content = checkpoint.read_torch_file(file)
    if checkpoint.is_checkpoint(content):
        ours = checkpoint.to_checkpoint(content, file)
        return Weights(
            path=file,
            format="checkpoint of deepcluster",
            tensors=ours.backbone,
            card=ours.card,
            epoch=ours.epoch,
            head=ours.head,
            assignment=ours.assignment,
            others=ours.others,
        )
    arch = released.arch_2018(content)
    if arch is not None:
        tensors, card, head = released.read_2018(content, arch, file)
        epoch = content.get("epoch")
        return Weights(
            path=file,
            format=f"{arch} in the layout of the 2018 code",
            tensors=tensors,
            card=card,
            epoch=epoch if isinstance(epoch, int) else 0,
            head=head,
        )
    return _state_dict(file, content)


def _exported(file: Path, tensors: dict[str, Tensor], described: dict[str, Any]) -> Weights:
    """An exported backbone, and the clusters beside it if the folder is a bundle."""
    clusters = file.with_name(CLUSTERS)
    has_clusters = file.name == EXPORTED and clusters.is_file()
    return Weights(
        path=file,
        format=BUNDLE if has_clusters else "exported backbone",
        tensors=tensors,
        card={key: described[key] for key in exported.CARD_KEYS},
        epoch=int(described["epochs"]),
        assignment=exported.read_clusters(clusters, int(described["feature_dim"])) if has_clusters else None,
    )


def read_weights_with_card(path: str | Path) -> Weights:
    """:func:`read_weights` of a file that tells its architecture.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_weights`, and if the file does not tell its architecture.
    """
    weights = read_weights(path)
    if weights.card is None:
        raise ValueError(
            f"{weights.path} is a {weights.format} that does not tell its architecture "
            f"(its first tensor is {next(iter(weights.tensors))}); use it in training, with init=weights "
            f"init.path={weights.path} and arch=..."
        )
    return weights


def _state_dict(file: Path, content: Any) -> Weights:
    """Weights of another program's file: a dict of tensors, alone or under "state_dict" or "model"."""
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    named = content.items() if isinstance(content, dict) else ()
    tensors = {str(name): value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(
            f"{file} is not a known kind of weights: give a run's folder, a checkpoint, an exported "
            "backbone, a 2018 .pth.tar, or a state dict (name -> tensor, alone or under state_dict)"
        )
    prefix = "module."  # DataParallel's
    if all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    name = layouts.resnet_name(tensors)
    if name is None or tensors["conv1.weight"].shape[1:] != (3, 7, 7):
        return Weights(path=file, format="state dict", tensors=tensors)
    of_v2 = any(key.startswith(V2_HEADS) for key in tensors)
    card = {
        "arch": {
            "_target_": "deepcluster.models.resnet.resnet",
            "name": name,
            "small_images": False,
            "sobel": False,
            "weights": None,
        },
        "in_channels": 3,
        "image_size": released.IMAGE_SIZE,
        "resize": released.RESIZE,
        "mean": released.IMAGENET_MEAN,
        "std": V2_STD if of_v2 else released.IMAGENET_STD,
    }
    what = f"{name} in torchvision's layout" + (", as DeepCluster-v2 and SwAV were released" if of_v2 else "")
    return Weights(path=file, format=what, tensors=tensors, card=card)
