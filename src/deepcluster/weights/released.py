"""The files of the 2018 release, AlexNet and VGG-16: read them, and write ours so that the 2018 tools read them.

Such a `.pth.tar` is a dict of epoch, arch, state_dict and, unless it was released, optimizer (original: main.py).
recognise.py reads them, evaluation/export.py writes them.
"""

import io
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.models.alexnet import AlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.sobel import FILTERS
from deepcluster.models.vgg import VGG16
from deepcluster.weights import layouts

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # original: main.py
IMAGE_SIZE, RESIZE = 224, 256  # original: main.py, the transform `tra`
N_CONVOLUTIONS = {"alexnet": 5, "vgg16": 13}
TARGETS = {"alexnet": "deepcluster.models.alexnet.AlexNet", "vgg16": "deepcluster.models.vgg.VGG16"}
# What the 2018 code builds when it reads a file: it takes only `sobel` from there (original: util.load_model).
BUILT_2018: dict[str, dict[str, Any]] = {
    name: {
        "in_channels": 3,
        "image_size": IMAGE_SIZE,
        "batch_norm": True,
        "hidden": 4096,
        "feature_dim": 4096,
        "channels": channels,
    }
    for name, channels in {
        "alexnet": [96, 256, 384, 384, 256],
        "vgg16": [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
    }.items()
}
Head = tuple[Tensor, Tensor]


def arch_2018(content: Any) -> str | None:
    """ "alexnet" or "vgg16" if this is a file in the 2018 layout, whatever it lacks; else None."""
    if not isinstance(content, dict):
        return None
    named = _text(content.get("arch"))
    if isinstance(content.get("state_dict"), dict) and named in N_CONVOLUTIONS:
        return str(named)
    names = content.get("state_dict", content)
    if not isinstance(names, dict) or not all(isinstance(value, Tensor) for value in names.values()):
        return None
    tensors = plain_names(names)
    counts = {count: arch for arch, count in N_CONVOLUTIONS.items()}
    return counts.get(len(_convolutions(tensors))) if "classifier.3.bias" in tensors or _is_alexnet(tensors) else None


def read_2018(content: dict[str, Any], arch: str, file: Path) -> tuple[dict[str, Tensor], dict[str, Any], Head | None]:
    """Tensors of the backbone by their 2018 names, the network's description, and the last layer if there is one.

    Args:
        content: what :func:`checkpoint.read_torch_file` gave.
        arch: from :func:`arch_2018`.

    Returns:
        Names without `module.`; the card (see checkpoint.py); top_layer's weight (K, D) and bias (K,).

    Raises:
        ValueError: if the tensors are not those of the network that `arch` names.
    """
    tensors = plain_names(content.get("state_dict", content))
    convolutions = _convolutions(tensors)
    if len(convolutions) != N_CONVOLUTIONS[arch]:
        raise ValueError(
            f"{file} says arch={arch}, which has {N_CONVOLUTIONS[arch]} convolutions; "
            f"its state_dict has {len(convolutions)} (features.N.weight): it is not read"
        )
    top = "top_layer" if "top_layer.weight" in tensors else "classifier.6"  # torchvision's name
    head = None
    if f"{top}.weight" in tensors and f"{top}.bias" in tensors:
        head = (tensors.pop(f"{top}.weight"), tensors.pop(f"{top}.bias"))
    linear = [f"classifier.{number}.weight" for number in ((1, 4) if arch == "alexnet" else (0, 3))]
    missing = [name for name in linear if name not in tensors]
    if missing:
        raise ValueError(f"{file} ({arch}) has no {missing[0]}: fc6 and fc7 are part of the network")
    if head is not None and (head[0].shape[1:] != tensors[linear[1]].shape[:1] or head[1].shape != head[0].shape[:1]):
        shapes = " and ".join("x".join(map(str, one.shape)) for one in head)
        raise ValueError(
            f"{file} ({arch}) has {top}.weight and bias of {shapes}, which do not fit its "
            f"{len(tensors[linear[1]])} features: it is not read"
        )
    sobel = "sobel.0.weight" in tensors
    in_channels = (tensors["sobel.0.weight"] if sobel else tensors[convolutions[0]]).shape[1]
    if in_channels != 3:
        raise ValueError(f"{file} ({arch}) takes {in_channels} channels; the networks of 2018 take 3")
    if sobel:
        _check_sobel(tensors, file)
    card = {
        "arch": {
            "_target_": TARGETS[arch],
            "channels": [int(tensors[name].shape[0]) for name in convolutions],
            "hidden": int(tensors[linear[0]].shape[0]),
            "feature_dim": int(tensors[linear[1]].shape[0]),
            "dropout": 0.5,
            "batch_norm": any(name.endswith(".running_mean") for name in tensors),
            "sobel": sobel,
        },
        "in_channels": 3,
        "image_size": IMAGE_SIZE,
        "resize": RESIZE,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    return {name: value for name, value in tensors.items() if not name.startswith("sobel.")}, card, head


def check_readable_2018(backbone: Backbone, card: dict[str, Any]) -> str:
    """The arch by which the 2018 tools build this network.

    Raises:
        ValueError: if they cannot, naming the setting.
    """
    arch = "alexnet" if type(backbone) is AlexNet else "vgg16" if type(backbone) is VGG16 else None
    if arch is None:
        raise ValueError(
            f"the 2018 tools know AlexNet and VGG-16 only, not {card['arch']['_target_'].rpartition('.')[2]}: "
            'leave "official" out of evaluation.formats, or train with arch=alexnet or arch=vgg16'
        )
    state = backbone.state_dict()
    has = {
        "in_channels": backbone.in_channels,
        "image_size": backbone.image_size,
        "batch_norm": any(name.endswith("running_mean") for name in state),
        "hidden": len(state["neck.fc6.bias"]),
        "feature_dim": backbone.feature_dim,
        "channels": [value.shape[0] for value in state.values() if value.ndim == 4],
    }
    for name, expected in BUILT_2018[arch].items():
        if has[name] != expected:
            raise ValueError(
                f"the 2018 tools build {arch} with {name}={expected}, this network has {has[name]}: "
                'leave "official" out of evaluation.formats'
            )
    return arch


def content_2018(
    backbone: Backbone, arch: str, *, epoch: int, head: Head | None, module: bool = True
) -> dict[str, Any]:
    """What the 2018 code would have saved of this network.

    The optimizer is left out, as in the released files: the tools do not read it, and `main.py --resume`, which
    does, fails at top_layer on Python 3 anyway. BatchNorm's counts of batches are left out too: torch before 0.4.1
    refuses them, later ones do not ask for them in a plain dict.

    Args:
        arch: "alexnet" or "vgg16".
        epoch: epochs trained; the 2018 code goes on with this number.
        head: becomes top_layer. None: one row of zeros, as util.load_model wants to know its size; the tools
            replace or cut it off.
        module: write `features.module.`, as the DataParallel of main.py does.
    """
    layout = layouts.layout_2018(backbone)
    assert layout is not None
    state: OrderedDict[str, Tensor] = OrderedDict()
    if backbone.sobel is not None:
        state["sobel.0.weight"] = torch.full((1, 3, 1, 1), 1 / 3)
        state["sobel.0.bias"] = torch.zeros(1)
        state["sobel.1.weight"] = backbone.sobel.filters.detach().cpu().clone()
        state["sobel.1.bias"] = torch.zeros(2)
    for name, value in backbone.state_dict().items():
        if not layouts.is_batch_count(name):
            renamed = layout.names[name]
            if module:
                renamed = re.sub(r"^features\.", "features.module.", renamed)
            # contiguous: channels_last weights come in an order of memory that other programs need not share
            state[renamed] = value.detach().cpu().contiguous()
    weight, bias = head or (torch.zeros(1, backbone.feature_dim), torch.zeros(1))
    state["top_layer.weight"], state["top_layer.bias"] = weight.detach().cpu().clone(), bias.detach().cpu().clone()
    return {"epoch": epoch, "arch": arch, "state_dict": state}


def bytes_2018(content: dict[str, Any]) -> bytes:
    """The file, in the form that torch had before 1.6, which all versions read."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def plain_names(state: dict[Any, Any]) -> dict[str, Tensor]:
    """Tensors, names as text (Python 2 may have written bytes) and without DataParallel's `module.` anywhere."""
    named = ((str(_text(name)), value) for name, value in state.items() if isinstance(value, Tensor))
    return {re.sub(r"(^|\.)module\.", r"\1", name): value for name, value in named}


def _convolutions(tensors: dict[str, Tensor]) -> list[str]:
    """Names of the numbered convolutions' weights, in the order of their numbers."""
    numbered = [
        (int(match[1]), name)
        for name, value in tensors.items()
        if (match := re.fullmatch(r"features\.(\d+)\.weight", name)) and value.ndim == 4
    ]
    return [name for _, name in sorted(numbered)]


def _is_alexnet(tensors: dict[str, Tensor]) -> bool:
    return {"classifier.1.weight", "classifier.4.weight"} <= tensors.keys()


def _check_sobel(tensors: dict[str, Tensor], file: Path) -> None:
    """Ours is fixed, so a file must hold the same."""
    expected = {
        "sobel.0.weight": torch.full((1, 3, 1, 1), 1 / 3),
        "sobel.0.bias": torch.zeros(1),
        "sobel.1.weight": torch.tensor(FILTERS, dtype=torch.float32).unsqueeze(1),
        "sobel.1.bias": torch.zeros(2),
    }
    for name, value in expected.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        stored = value.to(tensor.dtype).float()  # 1/3 is another number in half precision
        if tensor.shape != value.shape or not torch.allclose(tensor.float(), stored):
            raise ValueError(
                f"{file} has other values in {name} than grey by 1/3 and the two Sobel filters: it would give "
                "other features here, so it is not read"
            )


def _text(name: Any) -> Any:
    return name.decode() if isinstance(name, bytes) else name
