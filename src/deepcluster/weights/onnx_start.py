"""What an ONNX file tells of its network: images, features, normalisation. Next: recognise.py.

The network runs in models/onnx_network.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepcluster.data.view_settings import View
from deepcluster.models.onnx_network import OnnxSession
from deepcluster.system.extras import install_extra
from deepcluster.weights.released import IMAGE_SIZE, IMAGENET_MEAN, IMAGENET_STD

SUFFIX = ".onnx"
TARGET = "deepcluster.models.onnx_network.OnnxNetwork"
CONTENT = "neck.onnx.content"  # the file's bytes, among the network's tensors
OF_FILE = ("n_bytes", "feature_dim")  # arguments of the network that the file tells
PIXELS = {"mean": 0.0, "std": 1 / 255}  # by these pixels of 0 to 255 stay as they are
N_DRY = 2  # black images of which the shapes of the outputs are seen


def read_onnx(file: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Read a file, with the weights that lie in files beside it.

    Returns:
        The network's tensors, its card (checkpoint.py), and lines for who trains with it.

    Raises:
        ImportError: if the extra is missing.
        ValueError: if it is no ONNX file, or its network does not make features of images.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  # told here by its extra
    except ImportError as error:
        raise ImportError(f"{file} needs an extra: {install_extra('onnx')} ({error})") from error
    try:
        model = onnx.load(str(file))
        content: bytes = model.SerializeToString()
    except PermissionError:
        raise
    except Exception as error:  # damaged bytes raise errors of protobuf, onnx and Python
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{file} is no ONNX file, is damaged, or lacks the weights beside it ({reason})") from error
    try:
        session, card = describe(content)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    notes, output = [], card["arch"]["output"]
    inside = _behind_last_layer(model, output)
    if len(session.outputs) > 1 or inside is not None:
        others = f" of {', '.join(session.outputs)}" if len(session.outputs) > 1 else ""
        last = f" (the tensor {inside!r} is what its last layer reads)" if inside is not None else ""
        notes.append(f"its output {output!r}{others} is read, or arch.output=NAME of a run{last}")
    if session.dtype != np.uint8:
        notes.append(
            "it does not tell how its images are normalised: by ImageNet's mean and deviation, or by view.mean and "
            "view.std of a run"
        )
    return {CONTENT: torch.frombuffer(bytearray(content), dtype=torch.uint8)}, card, notes


def describe(
    content: bytes, *, output: str | None = None, pool: str = "mean", image_size: int | None = None
) -> tuple[OnnxSession, dict[str, Any]]:
    """The network of a file, and its card, found by a pass over black images.

    Args:
        output, pool: as in :class:`OnnxNetwork`.
        image_size: side of the images; None: what the file says, else 224.

    Raises:
        ValueError: if it gives no features of such images.
    """
    session = OnnxSession(content, output)
    height, width = session.height, session.width
    if height is not None and width is not None and height != width:
        raise ValueError(f"its images are {width}x{height}, and only square ones are cut here; export it for these")
    own = height or width
    if own is not None and image_size not in (None, own):
        raise ValueError(f"its images are {own}x{own}, not view.size={image_size}; set view.size={own}")
    size, channels = own or image_size or IMAGE_SIZE, session.channels or 3
    try:
        found = session.run(np.zeros((N_DRY, channels, size, size), np.float32))
    except ValueError as error:
        raise ValueError(f"{error}; is another view.size right for it?") from error
    outputs = dict(zip([output] if output is not None else session.outputs, found, strict=True))
    fitting = {name: one for name, one in outputs.items() if one.dtype.kind == "f" and one.ndim in (2, 3, 4)}
    fitting = {name: one for name, one in fitting.items() if len(one) == N_DRY}
    if not fitting:
        told = ", ".join(f"{name} {one.shape} {one.dtype}" for name, one in outputs.items())
        raise ValueError(
            f"of {N_DRY} images it gives {told}: no features (B, D), tokens (B, T, D) or maps (B, C, H, W)"
        )
    chosen = min(fitting, key=lambda name: fitting[name].ndim)
    feature_dim = session.features(fitting[chosen], pool).shape[1]
    arch = {"_target_": TARGET, "n_bytes": len(content), "feature_dim": feature_dim, "output": chosen, "pool": pool}
    sizes = {"in_channels": channels, "image_size": size, "resize": size}
    return session, {"arch": arch, **sizes, **_normalisation(session, channels)}


def told_by_file(
    file: Path,
    tensors: Mapping[str, Tensor],
    card: Mapping[str, Any] | None,
    arch: dict[str, Any],
    view: View,
) -> tuple[dict[str, Any], View, int]:
    """The groups `arch` and `view` of a run with this network, with what the file tells; and the channels it takes.

    Args:
        file: an ONNX file, or one of ours that holds one.
        tensors, card: what it holds.
        arch, view: as they were typed.

    Raises:
        ValueError: if it holds no ONNX file, or that does not fit what was typed.
    """
    if card is None or card["arch"].get("_target_") != TARGET:
        raise ValueError(f"init.path={file} holds no ONNX file, which arch=onnx runs; leave arch=onnx out")
    output, pool = arch.get("output") or card["arch"]["output"], arch.get("pool", "mean")
    found, of_card = dict(card), (card["arch"]["output"], card["arch"]["pool"], card["image_size"])
    # A file of ours has the normalisation of its run, which may have been typed.
    if file.suffix != SUFFIX or (output, pool, view.size) != of_card:
        content = tensors[CONTENT].numpy().tobytes()
        try:
            found = describe(content, output=output, pool=pool, image_size=view.size)[1]
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    channels = int(found["in_channels"])
    if view.mean is None or view.std is None:
        return found["arch"], replace(view, mean=found["mean"], std=found["std"]), channels
    typed = zip([*view.mean, *view.std], [*found["mean"], *found["std"]], strict=False)
    if found["std"] == [PIXELS["std"]] * channels and not all(np.isclose(one, other) for one, other in typed):
        raise ValueError(f"{file} takes pixels as they are, 0 to 255: leave view.mean and view.std out")
    return found["arch"], view, channels


def check_channels(taken: int | None, n_channels: int | None) -> None:
    """Refuse images of other channels than the network of the file takes; None: any, or not known yet.

    Raises:
        ValueError: naming both.
    """
    if taken is not None and n_channels not in (None, taken):
        raise ValueError(
            f"the ONNX file takes {taken} channels, the images have {n_channels}; set data.n_channels={taken}"
        )


def _normalisation(session: OnnxSession, channels: int) -> dict[str, list[float]]:
    if session.dtype == np.uint8:
        return {name: [value] * channels for name, value in PIXELS.items()}
    values = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return {name: of_rgb if channels == 3 else [float(np.mean(of_rgb))] * channels for name, of_rgb in values.items()}


def _behind_last_layer(model: Any, output: str) -> str | None:
    """The tensor of which a linear layer makes this output, as a classifier does; None if none does."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    constants = {one.name for one in model.graph.initializer}
    node = made_by.get(output)
    if node is not None and node.op_type == "Add":  # the bias
        node = next((made_by[name] for name in node.input if name in made_by), None)
    if node is None or node.op_type not in ("Gemm", "MatMul") or node.input[1] not in constants:
        return None
    return str(node.input[0])
