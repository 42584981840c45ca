"""Read the 2018 release's files of AlexNet and VGG-16, and write our networks for the 2018 tools.

Such a `.pth.tar` is a dict of epoch, arch, state_dict and optimizer, which the released files lack (original: main.py).
Next: recognise.py reads them, evaluation/export_files.py writes them.
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
from deepcluster.models.sobel import FILTERS, RANDOM
from deepcluster.models.vgg import VGG16
from deepcluster.weights import layouts

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # original: main.py
IMAGE_SIZE, RESIZE = 224, 256  # original: main.py, the transform `tra`
N_CONVOLUTIONS = {"alexnet": 5, "vgg16": 13}
TARGETS = {"alexnet": "deepcluster.models.alexnet.AlexNet", "vgg16": "deepcluster.models.vgg.VGG16"}
# The networks that the 2018 code builds to read a file; only `sobel` depends on the file (original: util.load_model).
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
    """ "alexnet" or "vgg16" if a file has the 2018 layout, even an incomplete one; else None."""
    if not isinstance(content, dict):
        return None
    arch = _text(content.get("arch"))
    if isinstance(content.get("state_dict"), dict) and arch in N_CONVOLUTIONS:
        return str(arch)
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        return None
    tensors = plain_names(state)
    if "classifier.3.bias" not in tensors and not {"classifier.1.weight", "classifier.4.weight"} <= tensors.keys():
        return None
    n_convolutions = len(_convolutions(tensors))
    return next((arch for arch, count in N_CONVOLUTIONS.items() if count == n_convolutions), None)


def read_2018(content: dict[str, Any], arch: str, file: Path) -> tuple[dict[str, Tensor], dict[str, Any], Head | None]:
    """Read the backbone's tensors, the network's description, and the last layer if there is one.

    Args:
        content: of the file (:func:`checkpoint.read_torch_file`).
        arch: from :func:`arch_2018`.

    Returns:
        Tensors by their 2018 names without `module.`; the card (checkpoint.py); the last layer's weight (K, D) and bias
        (K,), or None.

    Raises:
        ValueError: if the tensors are not those of the network that `arch` names.
    """
    tensors = plain_names(content.get("state_dict", content))
    convolutions = _convolutions(tensors)
    if len(convolutions) != N_CONVOLUTIONS[arch]:
        raise ValueError(
            f"{file} says arch={arch}, which has {N_CONVOLUTIONS[arch]} convolutions, but its state_dict has "
            f"{len(convolutions)} (features.N.weight); use a complete file"
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
            f"{len(tensors[linear[1]])} features; use an undamaged file"
        )
    has_sobel = "sobel.0.weight" in tensors
    in_channels = (tensors["sobel.0.weight"] if has_sobel else tensors[convolutions[0]]).shape[1]
    if in_channels != 3:
        raise ValueError(f"{file} ({arch}) takes {in_channels} channels; the networks of 2018 take 3")
    sobel = _sobel(tensors, file) if has_sobel else False
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
    fixed = [name for name in tensors if name.startswith("sobel.")]
    for name in fixed if sobel != RANDOM else [name for name in fixed if name.endswith("bias")]:
        del tensors[name]
    return tensors, card, head


def check_readable_2018(backbone: Backbone, card: dict[str, Any]) -> str:
    """The 2018 tools' name of this network, "alexnet" or "vgg16".

    Raises:
        ValueError: if they cannot build it; names the setting.
    """
    arch = "alexnet" if type(backbone) is AlexNet else "vgg16" if type(backbone) is VGG16 else None
    if arch is None:
        raise ValueError(
            f"the 2018 tools know AlexNet and VGG-16 only, not {card['arch']['_target_'].rpartition('.')[2]}: "
            'leave "official" out of evaluation.formats, or train with arch=alexnet or arch=vgg16'
        )
    state = backbone.state_dict()
    sizes = {
        "in_channels": backbone.in_channels,
        "image_size": backbone.image_size,
        "batch_norm": any(name.endswith("running_mean") for name in state),
        "hidden": len(state["neck.fc6.bias"]),
        "feature_dim": backbone.feature_dim,
        "channels": [value.shape[0] for value in state.values() if value.ndim == 4],
    }
    for name, expected in BUILT_2018[arch].items():
        if sizes[name] != expected:
            raise ValueError(
                f"the 2018 tools build {arch} with {name}={expected}, this network has {sizes[name]}: "
                'leave "official" out of evaluation.formats'
            )
    return arch


def content_2018(
    backbone: Backbone, arch: str, *, epoch: int, head: Head | None, module: bool = True
) -> dict[str, Any]:
    """The content of a file as the 2018 code would have saved this network.

    The optimizer is left out, as in the released files: the tools do not read it, and `main.py --resume`, which does,
    fails at top_layer on Python 3 anyway. BatchNorm's counts of batches are left out too: torch before 0.4.1 refuses
    them, and later versions do not need them in a plain dict.

    Args:
        arch: "alexnet" or "vgg16".
        epoch: epochs trained; the 2018 code resumes at this number.
        head: becomes top_layer. None: one row of zeros, because util.load_model reads its size; the tools replace it or
            cut it off.
        module: write names as `features.module.`, as main.py does by DataParallel.
    """
    layout = layouts.layout_2018(backbone)
    assert layout is not None
    state: OrderedDict[str, Tensor] = OrderedDict()
    if backbone.sobel is not None:
        grey, filters = backbone.sobel.grey, backbone.sobel.filters
        state["sobel.0.weight"] = torch.full((1, 3, 1, 1), 1 / 3) if grey is None else grey.detach().cpu().clone()
        state["sobel.0.bias"] = torch.zeros(1)
        state["sobel.1.weight"] = filters.detach().cpu().clone()
        state["sobel.1.bias"] = torch.zeros(2)
    for name, value in backbone.state_dict().items():
        if not layouts.is_batch_count(name) and not name.startswith("sobel."):
            renamed = layout.names[name]
            if module:
                renamed = re.sub(r"^features\.", "features.module.", renamed)
            # contiguous: other programs may not expect the memory order of channels_last weights
            state[renamed] = value.detach().cpu().contiguous()
    weight, bias = head or (torch.zeros(1, backbone.feature_dim), torch.zeros(1))
    state["top_layer.weight"], state["top_layer.bias"] = weight.detach().cpu().clone(), bias.detach().cpu().clone()
    return {"epoch": epoch, "arch": arch, "state_dict": state}


def bytes_2018(content: dict[str, Any]) -> bytes:
    """The file's bytes, in the format of torch before 1.6, which all versions read."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def plain_names(state: dict[Any, Any]) -> dict[str, Tensor]:
    """Tensors by name, without DataParallel's `module.`; names that Python 2 wrote as bytes become text."""
    named = ((str(_text(name)), value) for name, value in state.items() if isinstance(value, Tensor))
    return {re.sub(r"(^|\.)module\.", r"\1", name): value for name, value in named}


def _convolutions(tensors: dict[str, Tensor]) -> list[str]:
    """Names of the convolutions' weights, features.N.weight, in the order of N."""
    numbered = [
        (int(match[1]), name)
        for name, value in tensors.items()
        if (match := re.fullmatch(r"features\.(\d+)\.weight", name)) and value.ndim == 4
    ]
    return [name for _, name in sorted(numbered)]


def _sobel(tensors: dict[str, Tensor], file: Path) -> bool | str:
    """What `arch.sobel` is in a file with that layer: true if its filters are Sobel's, else "random".

    Raises:
        ValueError: if it is another layer.
    """
    expected = {
        "sobel.0.weight": torch.full((1, 3, 1, 1), 1 / 3),
        "sobel.0.bias": torch.zeros(1),
        "sobel.1.weight": torch.tensor(FILTERS, dtype=torch.float32).unsqueeze(1),
        "sobel.1.bias": torch.zeros(2),
    }
    differ = []
    for name, value in expected.items():
        tensor = tensors.get(name, value)
        if tensor.shape != value.shape:
            raise ValueError(f"{file} has a {name} of {tuple(tensor.shape)}, which is {tuple(value.shape)} in 2018")
        stored = value.to(tensor.dtype).float()  # 1/3 is another number in half precision
        if not torch.allclose(tensor.float(), stored):
            differ.append(name)
    if any(name.endswith("bias") for name in differ):
        raise ValueError(f"{file} has a bias in {differ[0]}, which is 0 here: its file cannot be used")
    return RANDOM if differ else True


def _text(name: Any) -> Any:
    return name.decode() if isinstance(name, bytes) else name
