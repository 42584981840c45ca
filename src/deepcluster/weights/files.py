"""Find the file of weights that a path means, without importing torch. Next: recognise.py reads it."""

import json
from pathlib import Path
from typing import Any

from deepcluster.system.setting import checked_path

EXPORTED = "backbone.safetensors"  # beside its description, backbone.json
CLUSTERS = "clusters.safetensors"  # beside both in a bundle

OF_A_RUN = ("summary.json", "config.yaml", "clusters.csv", "metrics.csv", "train.log")  # files without weights


def find_weights(path: str | Path) -> Path:
    """The file of weights in a run's or an export's folder, or the file itself.

    Raises:
        FileNotFoundError: if there is none, or it is missing in an export's folder.
        ValueError: see :func:`find_checkpoint`.
    """
    path = checked_path("ckpt", str(path))
    exported = Path(path) / EXPORTED
    of_bundle = [exported, exported.with_suffix(".json"), Path(path) / CLUSTERS]
    there = [file.is_file() for file in of_bundle]
    if (there[2] and not all(there)) or (there[1] and not there[0]):
        raise FileNotFoundError(
            f"{of_bundle[there.index(False)]} is missing, though {of_bundle[there.index(True)].name} is there: the "
            "export is incomplete; copy or export it again"
        )
    return exported if there[0] else find_checkpoint(path)


def reading_of_export(file: Path) -> dict[str, Any]:
    """Settings of the group `reading` that a bundle's images need, as backbone.json tells them; empty for other files.

    Args:
        file: of weights.

    Raises:
        ValueError: if backbone.json is damaged.
    """
    described = file.with_suffix(".json")
    if file.name != EXPORTED or not described.is_file():
        return {}
    try:
        reading = json.loads(described.read_text()).get("reading", {})
        return {str(name): value for name, value in reading.items()}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{described} is damaged ({error}); copy or export it again") from error


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint file of a run's folder, or the file itself.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is another file of a run.
    """
    path = Path(path)
    if path.name in OF_A_RUN and (path.parent / "config.yaml").is_file():
        raise ValueError(f"{path} holds no weights; did you mean its run, {path.parent}?")
    if path.is_dir():
        final, last, previous = (path / "checkpoints" / f"{name}.ckpt" for name in ("final", "last", "previous"))
        if final.is_file() and last.is_file():  # where a finished run is trained further, last.ckpt has more epochs
            return last if _epoch(last) > _epoch(final) >= 0 else final
        for file in (final, last, previous):
            if file.is_file():
                return file
        raise FileNotFoundError(
            f"{path} holds no checkpoints/last.ckpt: it is not a run's folder, or the run has not saved one yet"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; give a run's folder or a file of weights")
    return path


def _epoch(file: Path) -> int:
    """The number of a checkpoint's last epoch, without reading tensors; -1 if the file is damaged."""
    import torch

    try:
        return int(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["epoch"])
    except Exception:
        return -1
