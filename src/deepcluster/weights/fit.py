"""Match the tensors of a file with those of a network, and advise where they do not fit. Next: network.py."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepcluster.models.backbone import Backbone
from deepcluster.weights import layouts
from deepcluster.weights.onnx_start import OF_FILE, TARGET
from deepcluster.weights.recognise import Weights

# Networks -> their options of configs/arch, for advice.
ARCH_OPTIONS = {
    "deepcluster.models.lenet.LeNet5": "lenet",
    "deepcluster.models.alexnet.AlexNet": "alexnet",
    "deepcluster.models.alexnet.SmallAlexNet": "alexnet_small",
    "deepcluster.models.vgg.VGG16": "vgg16",
    "deepcluster.models.vgg_small.SmallVGG": "vgg_small",
    "deepcluster.models.resnet.resnet": "resnet50",
    "deepcluster.models.timm_model.timm_backbone": "timm",
    "deepcluster.models.coates.Coates": "coates",
    TARGET: "onnx",
}


@dataclass(kw_only=True)
class Fitted:
    """Tensors of a file, matched with those of a backbone.

    Args:
        state: our name -> tensor, of all that the file has.
        left_out: names of the file's tensors that the backbone does not have.
        random: our names of tensors that the file does not have; only with `partial`.
    """

    state: dict[str, Tensor]
    left_out: list[str]
    random: list[str]


def fit_weights(
    weights: Weights, backbone: Backbone, *, card: dict[str, Any] | None = None, partial: bool = False
) -> Fitted:
    """Find each of the backbone's tensors in a file.

    Args:
        card: the backbone's description, for advice.
        partial: keep the backbone's own values where the file has no tensor of that name and shape.

    Raises:
        ValueError: if no tensor fits; or, without `partial`, if one is missing or has another shape, or if the file
            holds a larger network. Names the first difference.
    """
    target = backbone.state_dict()
    layout = max(layouts.known_layouts(backbone), key=lambda one: len(weights.tensors.keys() & set(one.names.values())))
    state: dict[str, Tensor] = {}
    random: list[str] = []
    for name, value in target.items():
        theirs = layout.names[name]
        tensor = weights.tensors.get(theirs)
        if tensor is not None and tensor.shape == value.shape:
            state[name] = tensor
        elif tensor is None and layouts.is_batch_count(name):
            state[name] = torch.zeros_like(value)
        elif partial or not weights.tensors.keys() & set(layout.names.values()):
            random.append(name)
        else:
            has = "has no such tensor" if tensor is None else f"has {_shape(tensor)}"
            near = f" ({theirs} there)" if theirs != name else ""
            raise ValueError(
                f"{weights.path} ({weights.format}) does not fit this network: {name}{near} is {_shape(value)} here, "
                f"the file {has}; {_advice(weights, card, target, tensor, name)}"
            )
    if all(layouts.is_batch_count(name) for name in state):
        raise ValueError(
            f"nothing in {weights.path} ({weights.format}) fits this network: it holds "
            f"{_some(list(weights.tensors))}; this network has {_some(list(target))}; "
            f"{_advice(weights, card, target, None, '')}"
        )
    used = {layout.names[name] for name in state}
    left_out = [name for name in weights.tensors if name not in used]
    rooms = {name.partition(".")[0] for name in layout.names.values()}
    beyond = [
        name
        for name in left_out
        if name.partition(".")[0] in rooms and not name.startswith(layout.classifiers or ("\0",))
    ]
    if beyond and not partial:
        raise ValueError(
            f"{weights.path} ({weights.format}) holds a larger network: this one has no {_some(beyond)}; "
            f"{_advice(weights, card, target, None, '')}"
        )
    return Fitted(state=state, left_out=left_out, random=random)


def _advice(
    weights: Weights, card: dict[str, Any] | None, target: dict[str, Tensor], tensor: Tensor | None, name: str
) -> str:
    """What the user can set so that the file fits."""
    if weights.card is not None:
        settings = settings_of_card(weights.card, card)
        return f"set {' '.join(settings)}" if settings else "the file is incomplete: a part of its network is missing"
    first = next(iter(target))
    if tensor is not None and name == first and tensor.ndim == target[first].ndim == 4:
        there, here = tensor.shape[1], target[first].shape[1]
        if there != here:
            sobel = "arch.sobel=true" if there == 2 else "arch.sobel=false"
            return (
                f"the first layer of the file reads {there} channels, this network's {here}: "
                f"set {sobel} and data.n_channels to the file's, or init.partial=true to start that layer at random"
            )
        return "the first layers differ: set arch.small_images=false (7x7) or true (3x3), or another arch"
    return "set arch to the network that the file holds, or init.partial=true to take what fits"


def settings_of_card(file_card: dict[str, Any], card: dict[str, Any] | None = None) -> list[str]:
    """Command-line settings that give a run the network of a file.

    Args:
        file_card: the network's description.
        card: of the run's own network, whose settings are left as they are where both agree; None: there is none.
    """
    here = {} if card is None else card["arch"]
    there = file_card["arch"]
    same = here.get("_target_") == there["_target_"]
    settings = [] if same else [f"arch={ARCH_OPTIONS.get(there['_target_'], there['_target_'])}"]
    for key, value in there.items():
        if key in ("_target_", "weights", "pretrained", "dropout", *OF_FILE) or (same and here.get(key) == value):
            continue
        if not same and settings[0] == f"arch={value}":  # arch=resnet50 implies arch.name=resnet50
            continue
        settings.append(f"arch.{key}={_spell(value)}")
    for key, setting in (("in_channels", "data.n_channels"), ("image_size", "view.size")):
        if card is None or card[key] != file_card[key]:
            settings.append(f"{setting}={file_card[key]}")
    return settings


def _spell(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(list(value)).replace(" ", "") if isinstance(value, list | tuple) else str(value)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
