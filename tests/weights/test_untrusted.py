"""Every reader of files, given one with code in it: the code does not run."""

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.images_of import images_of

from deepcluster.clustering import history
from deepcluster.data import cache
from deepcluster.data.arrays import read_array
from deepcluster.data.decode import decode_file
from deepcluster.data.sources.load import load
from deepcluster.evaluation.retrieval import plain_pickle
from deepcluster.models.lenet import LeNet5
from deepcluster.run.checkpoint_choice import ThisRun, choose_checkpoint
from deepcluster.training.checkpointing import AtomicCheckpointIO
from deepcluster.weights import checkpoint, recognise
from deepcluster.weights.start import CheckpointInit, WeightsInit


class Code:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def torch_file(code: Code, file: Path) -> None:
    torch.save({"deepcluster": code, "epoch": 1, "state_dict": {}, "callbacks": {}, "key": "k", "w": code}, file)


def old_torch_file(code: Code, file: Path) -> None:
    torch.save({"arch": "alexnet", "state_dict": code}, file, _use_new_zipfile_serialization=False)


def pickle_file(code: Code, file: Path) -> None:
    file.write_bytes(pickle.dumps(code))


def npy_file(code: Code, file: Path) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.array([code], dtype=object), allow_pickle=True)


def npz_file(code: Code, file: Path) -> None:
    labels = np.array([code], dtype=object)
    with file.open("wb") as stream:
        np.savez(stream, labels=labels, k=labels, objective=labels, epoch=labels)


def of_run(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    return folder / "checkpoints" / "last.ckpt"


def _init(kind: Any) -> Callable[[Path], Any]:
    return lambda file: kind(path=str(file)).apply(LeNet5(1, 16), card={}, images=None, seed=1)


def _assignment(file: Path) -> Any:
    folder = file.parent / "assignments"
    history.write_samples(folder, ["0"])
    (folder / "epoch_00000.npz").write_bytes(file.read_bytes())
    return history.read_assignments(folder)


def _cache(file: Path) -> Any:
    """A damaged entry is no error: it is made again."""
    settings = images_of(cache_dir=str(file.parent))
    path = cache._path(*settings, "scan", False)
    assert path is not None
    path.write_bytes(file.read_bytes())
    if cache.read(*settings, "scan", "k") is None:
        raise ValueError("made again")


def _image(file: Path) -> Any:
    decode_file(str(file), 1)


def _cifar(file: Path) -> Any:
    """torchvision unpickles CIFAR's batches after it has compared their MD5."""
    folder = file.parent / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(file.read_bytes())
    load(*images_of("cifar10", root=str(file.parent)), "train")


def _resume(file: Path) -> Any:
    last = of_run(file.parent / "run")
    last.write_bytes(file.read_bytes())
    run = ThisRun(card={}, settings={}, n_images=1, capacity=1, k_is_fixed=True)
    choose_checkpoint(file.parent / "run", run, lambda line: None)


READERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint.read_torch_file": checkpoint.read_torch_file,
    "checkpoint.load_checkpoint": checkpoint.load_checkpoint,
    "resume": _resume,
    "Lightning's restore": lambda file: AtomicCheckpointIO().load_checkpoint(file),
    "eval's ckpt": recognise.read_weights_with_card,
    "init=checkpoint": _init(CheckpointInit),
    "init=weights": _init(WeightsInit),
    "assignments": _assignment,
    "cache": _cache,
    "image": _image,
    "array": lambda file: read_array(file.read_bytes(), None),
    "ground truth of retrieval": lambda file: plain_pickle.loads(file.read_bytes()),
    "CIFAR-10": _cifar,
}
WRITERS = (torch_file, old_torch_file, pickle_file, npy_file, npz_file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_runs_the_code_of_a_file(
    reader: str, write: Callable[[Code, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepcluster.data.sources.archives._download", refuse_to_download)
    marker, file = tmp_path / "code_ran", tmp_path / "file.pt"
    write(Code(marker), file)
    with contextlib.suppress(ValueError, pickle.UnpicklingError, OSError, RuntimeError):
        READERS[reader](file)
    assert not marker.exists()


def refuse_to_download(*args: Any) -> None:
    raise FileNotFoundError("no network in tests")


def test_the_files_would_run_their_code_elsewhere(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    file = tmp_path / "file"
    readers = [
        (torch_file, lambda: torch.load(file, weights_only=False)),
        (old_torch_file, lambda: torch.load(file, weights_only=False)),
        (pickle_file, lambda: pickle.loads(file.read_bytes())),
        (npy_file, lambda: np.load(file, allow_pickle=True)),
        (npz_file, lambda: np.load(file, allow_pickle=True)["labels"]),
    ]
    for number, (write, read) in enumerate(readers):
        write(Code(tmp_path / f"ran_{number}"), file)
        read()
        assert (tmp_path / f"ran_{number}").exists(), write.__name__
