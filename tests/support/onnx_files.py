"""ONNX files of a small network, written node by node, in the forms in which other programs export theirs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SIZE, D, N_CLASSES = 16, 6, 3
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)  # of the file that takes pixels


def network(seed: int = 0, channels: int = 3) -> nn.Sequential:
    """Images (B, C, H, W) -> classes (B, 3); its first two layers give maps, the next two features (B, 6)."""
    torch.manual_seed(seed)
    convolution = nn.Conv2d(channels, D, 3, padding=1)
    return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(D, N_CLASSES)).eval()


@torch.no_grad()
def maps_of(images: Tensor, seed: int = 0) -> Tensor:
    """(B, 6, SIZE, SIZE)"""
    maps: Tensor = network(seed)[:2](images)
    return maps


def features_of(images: Tensor, seed: int = 0) -> Tensor:
    """(B, 6)"""
    return maps_of(images, seed).mean(dim=(2, 3))


def write_onnx(
    file: Path,
    *outputs: str,
    batch: int | str = "batch",
    sides: tuple[int | str, int | str] = (SIZE, SIZE),
    form: str = "float32",
    channels: int = 3,
    channels_last: bool = False,
    seed: int = 0,
    inputs: int = 1,
    beside: bool = False,
) -> Path:
    """Write `network` as an ONNX file.

    Args:
        outputs: of maps, features, tokens (B, SIZE * SIZE, 6), logits, count (an integer); none given: features.
        form: type of its images: float32, float16, or uint8, which is normalised inside.
        inputs: how many it has.
        beside: weights lie in a file of their own.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    types = {"float32": "FLOAT", "float16": "FLOAT16", "uint8": "UINT8"}
    kind, weights = getattr(TensorProto, types[form]), "float32" if form == "uint8" else form
    nodes: list[Any] = []
    constants: dict[str, np.ndarray[Any, Any]] = {}
    last = "images"

    def add(op: str, name: str, *more: str, **attributes: Any) -> None:
        nonlocal last
        nodes.append(helper.make_node(op, [last, *more], [name], **attributes))
        last = name

    if channels_last:
        add("Transpose", "first", perm=[0, 3, 1, 2])
    if form == "uint8":
        constants["mean"], constants["std"] = (
            255 * np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (MEAN, STD)
        )
        add("Cast", "float", to=TensorProto.FLOAT)
        add("Sub", "centred", "mean")
        add("Div", "normalised", "std")
    for name, value in network(seed, channels).state_dict().items():
        constants[name] = value.numpy().astype(weights)
    add("Conv", "convolved", "0.weight", "0.bias", pads=[1, 1, 1, 1])
    add("Relu", "maps_first")
    add("GlobalAveragePool", "pooled")
    add("Flatten", "features")
    add("Gemm", "logits", "4.weight", "4.bias", transB=1)
    order = [0, 2, 3, 1] if channels_last else [0, 1, 2, 3]
    nodes.append(helper.make_node("Transpose", ["maps_first"], ["maps"], perm=order))
    constants["flat"] = np.array([0, D, -1])
    nodes.append(helper.make_node("Reshape", ["maps_first", "flat"], ["by_channel"]))
    nodes.append(helper.make_node("Transpose", ["by_channel"], ["tokens"], perm=[0, 2, 1]))
    nodes.append(helper.make_node("Cast", ["features"], ["count"], to=TensorProto.INT64))
    shape = [batch, *sides, channels] if channels_last else [batch, channels, *sides]
    takes = [helper.make_tensor_value_info("images", kind, shape)]
    takes += [helper.make_tensor_value_info(f"more_{i}", kind, [1]) for i in range(inputs - 1)]
    gives = [onnx.ValueInfoProto(name=name) for name in outputs or ("features",)]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", takes, gives, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside_it = {"save_as_external_data": True, "location": f"{file.name}_data", "size_threshold": 0} if beside else {}
    onnx.save(model, str(file), **beside_it)
    return file
