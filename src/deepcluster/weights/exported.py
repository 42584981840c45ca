"""The files of an exported network: backbone.safetensors with backbone.json; in a bundle clusters.safetensors too.

A backbone of timm has timm's own names there, every other one ours.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

import deepcluster
from deepcluster.clustering.assignment import Assignment
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import write_atomically
from deepcluster.weights import layouts, safetensors_file
from deepcluster.weights.files import CLUSTERS, EXPORTED

SUFFIX = ".safetensors"
CARD_KEYS = ("arch", "in_channels", "image_size", "resize", "mean", "std")
_OF_REDUCTION = ("mean", "projection")  # tensors of clusters.safetensors, beside centroids and labels


def write_exported(
    folder: Path, backbone: Backbone, card: dict[str, Any], *, epoch: int, reading: dict[str, Any] | None = None
) -> Path:
    """Write both files of the backbone; returns the path of backbone.safetensors.

    Its header holds the description too, so that the file can be read alone.

    Args:
        card: the network's description (checkpoint.py).
        epoch: epochs trained.
        reading: settings of the group `reading` that decide an image's pixels; None: they are not told.

    Raises:
        ImportError: if safetensors is not installed.
    """
    described = {
        "format": "deepcluster backbone",
        "deepcluster": deepcluster.__version__,
        "epochs": epoch,
        "feature_dim": backbone.feature_dim,
        "stages": backbone.stages,
        **{key: card[key] for key in CARD_KEYS},
        **({} if reading is None else {"reading": reading}),
    }
    layout = layouts.timm_layout(backbone)
    tensors = {layout.names[name] if layout else name: value for name, value in backbone.state_dict().items()}
    file = folder / EXPORTED
    safetensors_file.write(file, tensors, described)
    write_atomically(file.with_suffix(".json"), (json.dumps(described, indent=2) + "\n").encode())
    return file


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Tensors of any safetensors file, and the description if it is a backbone that we exported.

    The description is the JSON file beside it, or else in the file's header.

    Raises:
        ImportError: if safetensors is not installed.
        ValueError: if one of the files is damaged.
    """
    tensors, text = safetensors_file.read(file)
    beside = file.with_suffix(".json")
    if beside.is_file():
        text = beside.read_text()
    if text is None:
        return tensors, None
    try:
        card = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{beside} is not JSON ({error}); export the network again, or remove it") from error
    if not isinstance(card, dict) or not {*CARD_KEYS, "epochs"} <= card.keys():
        return tensors, None  # a description by another program
    return tensors, card


def write_clusters(folder: Path, assignment: Assignment) -> Path:
    """Write clusters.safetensors: centroids, reduction, and each image's label without its name.

    Soft labels are left out.
    """
    state = assignment.state_dict()
    state.pop("soft", None)
    reduction = state.pop("reduction") or {}
    tensors = {"centroids": state.pop("centroids"), "labels": state.pop("labels")}
    tensors |= {name: reduction[name] for name in _OF_REDUCTION if reduction.get(name) is not None}
    numbers = {name: value for name, value in reduction.items() if name not in _OF_REDUCTION}
    described = {"format": "deepcluster clusters", **state, "reduction": numbers or None}
    file = folder / CLUSTERS
    safetensors_file.write(file, tensors, described)
    return file


def read_clusters(file: Path, feature_dim: int) -> Assignment:
    """The assignment in a clusters.safetensors.

    Args:
        feature_dim: D of the backbone beside it.

    Raises:
        ValueError: if the file is damaged, or of another network.
    """
    tensors, text = safetensors_file.read(file)
    try:
        state = json.loads(text or "")
        state.pop("format")
        numbers = state.pop("reduction")
        reduction = None if numbers is None else {**numbers, **{name: tensors.get(name) for name in _OF_REDUCTION}}
        clusters = {"centroids": tensors["centroids"], "labels": tensors["labels"], "reduction": reduction}
        assignment = Assignment.from_state_dict({**state, **clusters})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file} holds no clusters of ours ({error!r}); export the run again") from error
    taken = assignment.centroids.shape[1] if assignment.reduction is None else len(assignment.reduction.mean)
    if taken != feature_dim:
        raise ValueError(
            f"{file} is of another network: its clusters are of {taken} features, {EXPORTED} beside it gives "
            f"{feature_dim}; export both from one run"
        )
    return assignment
