"""Names of our networks' tensors in files of the 2018 code, torchvision and timm. Next: recognise.py."""

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
        names: our name -> the file's, for all tensors of the backbone's state dict.
        classifiers: how names of further layers begin, which such files hold after the backbone.
    """

    names: dict[str, str]
    classifiers: tuple[str, ...] = field(default_factory=tuple)


def known_layouts(backbone: Backbone) -> list[Layout]:
    """All layouts that a file of this backbone's weights may have, ours first."""
    own = Layout(names={name: name for name in backbone.state_dict()})
    others = (layout_2018(backbone), torchvision_layout(backbone), timm_layout(backbone))
    return [own, *(layout for layout in others if layout is not None)]


def layout_2018(backbone: Backbone) -> Layout | None:
    """AlexNet and VGG-16 with numbers for names: features.0 is conv1, features.1 its BatchNorm ...; classifier.1 ...

    original: alexnet.py and vgg16.py. torchvision's VGG-16 and AlexNet (which has no BatchNorm) have the same numbers,
    and their own last layer as classifier.6. None for other networks.
    """
    if not isinstance(backbone, AlexNet | VGG16):
        return None
    # filters that are no Sobel's (arch.sobel=random)
    renamed = [("sobel.grey", "sobel.0.weight"), ("sobel.filters", "sobel.1.weight")]
    number = 0
    for name, child in backbone.features.named_children():
        parts = list(child.named_children()) if isinstance(child, nn.Sequential) else [("", child)]
        for part, _ in parts:
            renamed.append((f"features.{name}.{part}.", f"features.{number}."))
            number += 1
    in_order = [name for name, child in backbone.neck.named_children() if not isinstance(child, nn.Flatten)]
    renamed += [(f"neck.{name}.", f"classifier.{number}.") for number, name in enumerate(in_order)]
    return Layout(names=_rename(backbone, renamed), classifiers=("classifier.6.",))


def torchvision_layout(backbone: Backbone) -> Layout | None:
    """torchvision's names of a ResNet: conv1, bn1, layer1 ... layer4, fc. None for other networks."""
    blocks = getattr(backbone.features, "layer1", None)
    if not isinstance(blocks, nn.Sequential) or type(blocks[0]).__module__ != PACKAGE:
        return None
    renamed = [("features.conv1.0.", "conv1."), ("features.conv1.1.", "bn1."), ("features.layer", "layer")]
    return Layout(names=_rename(backbone, renamed), classifiers=("fc.",))


def timm_layout(backbone: Backbone) -> Layout | None:
    """timm's own names; the model's description names its classifier. None for other networks."""
    if not isinstance(backbone, TimmBackbone):
        return None
    model: Any = backbone.features.model
    named = model.pretrained_cfg.get("classifier") or ()
    classifiers = (named,) if isinstance(named, str) else tuple(named)
    return Layout(
        names=_rename(backbone, [("features.model.", "")]),
        classifiers=tuple(f"{name}." for name in classifiers),
    )


def resnet_name(tensors: dict[str, Tensor]) -> str | None:
    """The name of torchvision's ResNet with these names and shapes, except the classifier's; None if there is none."""
    if not {"conv1.weight", "bn1.weight", "layer4.0.conv1.weight"} <= tensors.keys():
        return None
    shapes = _shapes(tensors)
    for name in models.list_models():
        builder: Callable[[], nn.Module] = models.get_model_builder(name)
        if builder.__module__ != PACKAGE:
            continue
        with torch.device("meta"):  # names and shapes only
            if _shapes(builder().state_dict()) == shapes:
                return str(name)
    return None


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Shapes of a ResNet's tensors, without the classifier and batch counts."""
    of_backbone = ("conv1.", "bn1.", "layer")
    return {
        name: value.shape
        for name, value in tensors.items()
        if name.startswith(of_backbone) and not is_batch_count(name)
    }


def is_batch_count(name: str) -> bool:
    """Whether it names BatchNorm's count of batches. Old files lack it, and with a fixed momentum it has no effect."""
    return name.endswith(".num_batches_tracked")


def _rename(backbone: Backbone, renamed: list[tuple[str, str]]) -> dict[str, str]:
    """Our name -> the file's, by pairs of (how our name begins, how the file's begins)."""
    names = {}
    for name in backbone.state_dict():
        old, new = next((pair for pair in renamed if name.startswith(pair[0])), ("", ""))
        names[name] = new + name.removeprefix(old)
    return names
