"""Trained weights that lie on this machine: those that start=NAME_OR_FILE names, and those that start=auto finds.

Nothing is ever downloaded here. Next: app/folder_command.py makes settings of them.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision import models

from deepcluster.models.resnet import PACKAGE
from deepcluster.system.quoting import argument, override
from deepcluster.weights import onnx_start
from deepcluster.weights.fit import settings_of_card
from deepcluster.weights.pretrained import pretrained_card
from deepcluster.weights.recognise import read_weights

ADAPTING = (  # where it is trained further: a tenth of the rate, less in the first stages, and a warm-up
    "optimizer.lr=2.0e-4",
    "optimizer.layer_decay=0.7",
    "optimizer.warmup_epochs=0.5",
    "view.train_size=null",  # smaller crops were measured with networks that learn from nothing
)
FROZEN = ("trainer.max_epochs=0", "view.train_size=null")  # where it cannot be
SMALLEST_SIDE = 96  # pixels: below it a network that was trained at 224 has too small maps
SIDES = (160, 128, SMALLEST_SIDE)  # tried besides the network's own, where it takes any size
OF_FILES = (".pth", ".pt", ".tar", ".ckpt", ".safetensors", onnx_start.SUFFIX)  # what a name that ends so means
_DESCRIPTION = "config.json"  # of timm's on Hugging Face's hub, beside the weights


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights to start from.

    Args:
        file: the weights.
        card: the network's description (weights/checkpoint.py).
        called: what they are called by, for the user.
        fixed_size: the network takes one size of images only.
    """

    file: Path
    card: dict[str, Any]
    called: str
    fixed_size: bool = False

    @property
    def arch(self) -> str:
        """The option of the group `arch`."""
        return settings_of_card(self.card)[0].removeprefix("arch=")

    @property
    def is_frozen(self) -> bool:
        """It is an ONNX file: it cannot be trained, and is at its best at one size."""
        return bool(self.card["arch"]["_target_"] == onnx_start.TARGET)

    @property
    def words(self) -> list[str]:
        """The settings of the network and its weights, without arch=OPTION and view.size, which the dial chooses."""
        chosen = [word for word in settings_of_card(self.card)[1:] if not word.startswith("view.size=")]
        normalised = [f"view.{key}={_listed(self.card[key])}" for key in ("mean", "std")]
        return [*chosen, *normalised, "init=weights", override("init.path", str(self.file))]

    def sizes(self, side: int) -> list[int]:
        """Sizes of images to try, the largest first, for pictures of this short side."""
        own = int(self.card["image_size"])
        smaller = [] if self.fixed_size or self.is_frozen else [size for size in SIDES if size < own]
        fitting = [size for size in (own, *smaller) if size <= 1.25 * side]
        return fitting or [own, *smaller][-1:]


def named_start(value: str) -> Start:
    """The weights that start=VALUE means.

    Args:
        value: a file or folder of weights (weights/recognise.py), or the name of a network of torchvision or timm.

    Raises:
        FileNotFoundError: if there is no such file, or the weights of that name are not on this machine.
        ValueError: if a file does not tell its architecture, or there is no network of that name.
    """
    if Path(value).exists():
        return _of_path(Path(value))
    if os.sep in value or Path(value).suffix in OF_FILES:
        raise FileNotFoundError(f"start={value}: there is no such file or folder")
    card = pretrained_card(value, "start")
    found = _cached(value, card)
    if found is None:
        looked = "torch's and Hugging Face's caches"
        raise FileNotFoundError(
            f"start={value}: its weights are not on this machine ({looked}), and nothing is downloaded unasked; "
            f"download them, for example by {_download(value, card)}, or name a file"
        )
    return found


def local_starts() -> list[Start]:
    """Trained networks of torchvision and timm in this machine's caches, the smallest file first."""
    starts = [start for name in _resnets() if (start := _cached(name, pretrained_card(name, "start"))) is not None]
    starts += _of_timm_cache()
    return sorted(starts, key=lambda start: start.file.stat().st_size)


def _of_path(path: Path) -> Start:
    described = (path if path.is_dir() else path.parent) / _DESCRIPTION
    if path.suffix != onnx_start.SUFFIX and described.is_file() and (name := _architecture(described)) is not None:
        file = path if path.is_file() else next(iter(sorted(path.glob("*.safetensors"))), None)
        if file is not None:
            return _timm_start(name, file)
    weights = read_weights(path)
    if weights.card is None:
        raise ValueError(
            f"start={path} is a {weights.format} that does not tell its architecture; say it, in place of start=: "
            f"arch=timm arch.name=NAME init=weights {argument('init.path', path)}"
        )
    return Start(file=weights.path, card=weights.card, called=weights.format)


def _cached(name: str, card: dict[str, Any]) -> Start | None:
    """The weights of a name where torch and huggingface_hub keep what they have downloaded."""
    if name in _resnets():
        kept = _torch_cache() / Path(models.get_model_weights(name).DEFAULT.url).name
        return Start(file=kept, card=card, called=f"{name} of torchvision") if kept.is_file() else None
    import timm

    config = timm.models.get_pretrained_cfg(name)
    files = [_torch_cache() / Path(config.url).name] if config.url else []
    if config.hf_hub_id:
        files += _snapshots(config.hf_hub_id)
    file = next((one for one in files if one.is_file()), None)
    return None if file is None else _timm_start(name, file)


def _timm_start(name: str, file: Path) -> Start:
    import timm

    card = pretrained_card(name, "start")
    fixed = bool(timm.models.get_pretrained_cfg(name).fixed_input_size)
    return Start(file=file, card=card, called=f"{name} of timm", fixed_size=fixed)


def _of_timm_cache() -> Iterator[Start]:
    for described in sorted(_hub_cache().glob(f"models--timm--*/snapshots/*/{_DESCRIPTION}")):
        file, name = described.with_name("model.safetensors"), _architecture(described)
        if name is None or not file.is_file():
            continue
        try:
            yield _timm_start(name, file)
        except ValueError:  # timm is missing, or does not know it
            continue


def _architecture(described: Path) -> str | None:
    """The name of timm's network, with the tag of its weights, in a config.json; None of others."""
    try:
        content = json.loads(described.read_text())
        tag = content.get("pretrained_cfg", {}).get("tag")
        name = content["architecture"]
    except (ValueError, KeyError, AttributeError):
        return None
    return f"{name}.{tag}" if tag else str(name)


def _snapshots(hub_id: str) -> list[Path]:
    folder = _hub_cache() / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    return sorted(folder.glob("*/model.safetensors")) + sorted(folder.glob("*/pytorch_model.bin"))


def _resnets() -> list[str]:
    return [name for name in models.list_models() if models.get_model_builder(name).__module__ == PACKAGE]


def _torch_cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _hub_cache() -> Path:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return Path.home() / ".cache" / "huggingface" / "hub"
    return Path(HF_HUB_CACHE)


def _download(name: str, card: dict[str, Any]) -> str:
    if name in _resnets():
        return f"python -c \"import torchvision; torchvision.models.{name}(weights='DEFAULT')\""
    return f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\""


def _listed(numbers: list[float]) -> str:
    return str(list(numbers)).replace(" ", "")
