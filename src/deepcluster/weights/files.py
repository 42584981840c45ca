"""Find the file of weights that a path means, without importing torch. Next: recognise.py reads it."""

from pathlib import Path

from deepcluster.system.setting import checked_path

EXPORTED = "backbone.safetensors"  # beside its description, backbone.json

OF_A_RUN = ("summary.json", "config.yaml", "clusters.csv", "metrics.csv", "train.log")  # files without weights


def find_weights(path: str | Path) -> Path:
    """The file of weights in a run's or an export's folder, or the file itself.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is another file of a run.
    """
    path = checked_path("ckpt", str(path))
    if Path(path).name in OF_A_RUN and (Path(path).parent / "config.yaml").is_file():
        raise ValueError(f"ckpt={path} holds no weights; did you mean its run, ckpt={Path(path).parent}?")
    exported = Path(path) / EXPORTED
    return exported if exported.is_file() else find_checkpoint(path)


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint file of a run's folder, or the file itself.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(path)
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
        raise FileNotFoundError(f"no checkpoint at {path}; give a run's folder or a .ckpt file")
    return path


def _epoch(file: Path) -> int:
    """The number of a checkpoint's last epoch, without reading tensors; -1 if the file is damaged."""
    import torch

    try:
        return int(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["epoch"])
    except Exception:
        return -1
