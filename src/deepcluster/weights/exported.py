"""The two files of an exported backbone: backbone.safetensors, and its description backbone.json."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

import deepcluster
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import write_atomically
from deepcluster.weights.files import EXPORTED

SUFFIX = ".safetensors"
CARD_KEYS = ("arch", "in_channels", "image_size", "resize", "mean", "std")


def write_exported(folder: Path, backbone: Backbone, card: dict[str, Any], *, epoch: int) -> Path:
    """Write both files; returns the path of backbone.safetensors.

    Its header holds the description too, so that the file can be read alone.

    Args:
        card: the network's description (checkpoint.py).
        epoch: epochs trained.

    Raises:
        ImportError: if safetensors is not installed.
    """
    save = _import_safetensors().torch.save
    described = {
        "format": "deepcluster backbone",
        "deepcluster": deepcluster.__version__,
        "epochs": epoch,
        "feature_dim": backbone.feature_dim,
        "stages": backbone.stages,
        **{key: card[key] for key in CARD_KEYS},
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in backbone.state_dict().items()}
    text = json.dumps(described, indent=2) + "\n"
    file = folder / EXPORTED
    write_atomically(file, save(tensors, metadata={"card": text}))
    write_atomically(file.with_suffix(".json"), text.encode())
    return file


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Tensors of any safetensors file, and the description if it is a backbone that we exported.

    The description is the JSON file beside it, or else in the file's header.

    Raises:
        ImportError: if safetensors is not installed.
        ValueError: if one of the files is damaged.
    """
    safetensors = _import_safetensors()
    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            text = (opened.metadata() or {}).get("card")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is not a dict
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is cut short or damaged ({str(error).splitlines()[0]})") from error
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


def _import_safetensors() -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise ImportError("safetensors is missing: pip install safetensors") from error
    return safetensors
