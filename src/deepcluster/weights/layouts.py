"""What our networks' tensors are called elsewhere: in the 2018 code, in torchvision, in timm. Next: recognise.py."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from deepcluster.models.alexnet import AlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.resnet import PACKAGE
from deepcluster.models.timm_model import TimmBackbone
from deepcluster.models.vgg import VGG16


@dataclass(kw_only=True)
class Layout:
    """Names of a backbone's tensors in one kind of file.

    Args:
        title: whose names they are.
        names: our name -> the file's, for all tensors of the backbone's state dict.
        classifiers: beginnings of the names of what such files hold after the backbone.
    """

    title: str
    names: dict[str, str]
    classifiers: tuple[str, ...] = field(default_factory=tuple)


def known_layouts(backbone: Backbone) -> list[Layout]:
    """All layouts in which this backbone's weights may come, ours first."""
    own = Layout(title="deepcluster", names={name: name for name in backbone.state_dict()})
    others = (layout_2018(backbone), torchvision_layout(backbone), timm_layout(backbone))
    return [own, *(layout for layout in others if layout is not None)]


def layout_2018(backbone: Backbone) -> Layout | None:
    """AlexNet and VGG-16 numbered through: features.0 is conv1, features.1 its BatchNorm ...; classifier likewise.

    original: alexnet.py and vgg16.py. torchvision's VGG-16 and its AlexNet (which has no BatchNorm) have the same
    numbers, with a last layer of their own as classifier.6.
    """
    if not isinstance(backbone, AlexNet | VGG16):
        return None
    renamed: list[tuple[str, str]] = []
    number = 0
    for name, child in backbone.features.named_children():
        parts = list(child.named_children()) if isinstance(child, nn.Sequential) else [("", child)]
        for part, _ in parts:
            renamed.append((f"features.{name}.{part}.", f"features.{number}."))
            number += 1
    in_order = [name for name, child in backbone.neck.named_children() if not isinstance(child, nn.Flatten)]
    renamed += [(f"neck.{name}.", f"classifier.{number}.") for number, name in enumerate(in_order)]
    return Layout(title="the 2018 code", names=_rename(backbone, renamed), classifiers=("classifier.6.",))


def torchvision_layout(backbone: Backbone) -> Layout | None:
    """conv1, bn1, layer1 ... layer4; torchvision's classifier is fc."""
    blocks = getattr(backbone.features, "layer1", None)
    if not isinstance(blocks, nn.Sequential) or type(blocks[0]).__module__ != PACKAGE:
        return None
    renamed = [("features.conv1.0.", "conv1."), ("features.conv1.1.", "bn1."), ("features.layer", "layer")]
    return Layout(title="torchvision", names=_rename(backbone, renamed), classifiers=("fc.",))


def timm_layout(backbone: Backbone) -> Layout | None:
    """timm's own names; its classifier's name is in the model's description."""
    if not isinstance(backbone, TimmBackbone):
        return None
    model: Any = backbone.features.model
    named = model.pretrained_cfg.get("classifier") or ()
    classifiers = (named,) if isinstance(named, str) else tuple(named)
    return Layout(
        title="timm",
        names=_rename(backbone, [("features.model.", "")]),
        classifiers=tuple(f"{name}." for name in classifiers),
    )


def resnet_name(tensors: dict[str, Tensor]) -> str | None:
    """The ResNet of torchvision that these tensors are: all names and shapes but the classifier's; else None."""
    if not {"conv1.weight", "bn1.weight", "layer4.0.conv1.weight"} <= tensors.keys():
        return None
    shapes = {name: value.shape for name, value in tensors.items() if name.startswith(("conv1.", "bn1.", "layer"))}
    for name in models.list_models():
        builder: Callable[[], nn.Module] = models.get_model_builder(name)
        if builder.__module__ != PACKAGE:
            continue
        with torch.device("meta"):  # names and shapes only
            reference = builder().state_dict()
        reference_shapes = {key: value.shape for key, value in reference.items() if not key.startswith("fc.")}
        if {k: v for k, v in shapes.items() if not is_batch_count(k)} == {
            k: v for k, v in reference_shapes.items() if not is_batch_count(k)
        }:
            return str(name)
    return None


def is_batch_count(name: str) -> bool:
    """BatchNorm's count of batches, which files from before 2018 lack and which changes nothing (fixed momentum)."""
    return name.endswith(".num_batches_tracked")


def _rename(backbone: Backbone, renamed: list[tuple[str, str]]) -> dict[str, str]:
    names = {}
    for name in backbone.state_dict():
        old, new = next((pair for pair in renamed if name.startswith(pair[0])), ("", ""))
        names[name] = new + name.removeprefix(old)
    return names
