"""A bundle: one folder with all that assigns and embeds new pictures. For export_files.py; predict.py reads it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.data.crops import square
from deepcluster.data.decode import BrokenImage
from deepcluster.data.images import evenly_spaced
from deepcluster.data.sources.load import load
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.model_card import Described, model_card
from deepcluster.evaluation.samples.sorting import read_column
from deepcluster.models.timm_model import TimmBackbone
from deepcluster.system.atomic import read_json, write_atomically
from deepcluster.system.tables import write_csv
from deepcluster.weights.exported import write_clusters
from deepcluster.weights.files import EXPORTED

NAMES, CARD, ONNX = "names.csv", "README.md", "model.onnx"
N_PICTURES = 16  # on which ONNX is compared with torch


def check_out(folder: Path) -> None:
    """Refuse a folder with files of others, over which a bundle would be written.

    Raises:
        ValueError: naming it.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / EXPORTED).with_suffix(".json").is_file():
        raise ValueError(f"evaluation.out={folder} holds other files; name a new folder for the bundle")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"evaluation.out={folder} is a file; name a new folder for the bundle")


def names_of_clusters(typed: str | None, run: Path, k: int) -> dict[str, str]:
    """Cluster -> name, of evaluation.names or of the run's names.csv; empty without them.

    Raises:
        ValueError, FileNotFoundError: if the file is missing, or names what is no cluster.
    """
    file = Path(typed) if typed is not None else run / NAMES
    if typed is None and not file.is_file():
        return {}
    return read_names(file, k)


def read_names(file: Path, k: int | None) -> dict[str, str]:
    """Cluster -> name, of a file with these columns; clusters without a name are left out.

    Args:
        k: the number of clusters; None: not known.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if a column is missing, or a row names what is no cluster.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no file {file}; names of clusters are a CSV file with the columns cluster, name"
        )
    names = {number: name for number, name in read_column(file, "cluster", "name").items() if name and name.strip()}
    for number in names:
        if not number.isdecimal() or (k is not None and int(number) >= k):
            there = "clusters are called by their numbers" if k is None else f"there are clusters 0 to {k - 1}"
            raise ValueError(f"{file} names cluster {number!r}; {there}")
    return names


def pictures_to_compare(context: EvaluationContext) -> tuple[Tensor | None, str]:
    """Some of the run's pictures as the network sees them, uint8 (n, C, size, size), and what they are in words.

    None, and random pixels in words, where the pictures are unknown or gone: a bundle can be made without them.
    """
    view, none = context.view, (None, "random pixels")
    try:
        images = load(context.data, replace(context.reading, check="none", in_memory="auto"), "train")
    except (ValueError, OSError):
        return none
    assert images is not None
    shown = []
    for i in evenly_spaced(len(images), N_PICTURES):
        try:
            shown.append(square(images.read(i), view.resize or view.size, view.size))
        except BrokenImage:
            continue
    if not shown or shown[0].shape[0] != context.card["in_channels"]:
        return none
    return torch.stack(shown), f"{len(shown)} of the run's pictures"


def write_bundle(
    context: EvaluationContext, assignment: Assignment, names: Mapping[str, str], *, license: str, onnx: str | None
) -> None:
    """Write what a bundle holds beside the backbone and ONNX: clusters, names, card.

    Args:
        onnx: a sentence on how model.onnx compares with torch; None: there is none.
    """
    folder, backbone, card = context.folder, context.backbone, context.card
    write_clusters(folder, assignment)
    if names:
        write_csv(folder / NAMES, ["cluster", "name"], [[number, names[number]] for number in sorted(names, key=int)])
    timm = None
    if isinstance(backbone, TimmBackbone) and backbone.sobel is None:
        write_atomically(folder / "config.json", (json.dumps(timm_config(context), indent=2) + "\n").encode())
        timm = 'timm.create_model("local-dir:THIS_FOLDER", pretrained=True)'
    told = Described(
        card=card,
        reading=pixels_read(context),
        feature_dim=backbone.feature_dim,
        n_weights=sum(weight.numel() for weight in backbone.parameters()),
        epochs=context.stored.epoch,
        source=None if context.run_data is None else context.run_data.source,
        assignment=assignment,
        names=names,
        summary=read_json(context.stored.home / "summary.json"),
        onnx=onnx,
        timm=timm,
        license=license,
    )
    write_atomically(folder / CARD, model_card(told).encode())


def pixels_read(context: EvaluationContext) -> dict[str, Any]:
    """Settings of the group `reading` that decide an image's pixels."""
    reading = context.reading
    return {"stored_size": reading.stored_size, "decode": reading.decode, "max_value": reading.max_value}


def timm_config(context: EvaluationContext) -> dict[str, Any]:
    """config.json, by which timm loads the backbone from the folder, or from the hub."""
    card, backbone = context.card, context.backbone
    size = card["image_size"]
    return {
        "architecture": card["arch"]["name"],
        "num_classes": 0,
        "num_features": backbone.feature_dim,
        "model_args": {"in_chans": card["in_channels"]},
        "pretrained_cfg": {
            "input_size": [card["in_channels"], size, size],
            "crop_pct": size / card["resize"],
            "interpolation": "bilinear",
            "mean": list(card["mean"]),
            "std": list(card["std"]),
            "hf_hub_filename": EXPORTED,
        },
    }
