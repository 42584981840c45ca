"""Checkpoints of the 2018 main.py with their optimizer, which names parameters by addresses, as Python 2 wrote them."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from support.python2_pickle import PYTHON_2

from deepcluster.weights.checkpoint import read_torch_file

WEIGHT, BUFFER = torch.arange(6.0).reshape(2, 3), torch.full((2, 3), -0.5)
ADDRESS = 139_876_543_210_128  # id(parameter); of a 64 bit process
NEGATIVE = -(2**40)


def content(**more: Any) -> dict[str, Any]:
    groups = [{"lr": 0.05, "momentum": 0.9, "params": [ADDRESS, 2**31, NEGATIVE]}]
    optimizer = {"state": {ADDRESS: {"momentum_buffer": BUFFER}}, "param_groups": groups}
    state = OrderedDict({"features.module.0.weight": WEIGHT})
    return {"epoch": 200, "arch": "alexnet", "state_dict": state, "optimizer": optimizer, **more}


def save(path: Path, **more: Any) -> Path:
    torch.save(content(**more), path, pickle_module=PYTHON_2, _use_new_zipfile_serialization=False)
    return path


def test_an_optimizer_that_names_its_parameters_by_addresses_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoint.pth.tar")
    before = path.read_bytes()
    assert b"I139876543210128\n" in before
    with pytest.raises(pickle.UnpicklingError, match="Unsupported operand 73"):
        torch.load(path, weights_only=True)
    found = read_torch_file(path)
    assert torch.equal(found["state_dict"].pop("features.module.0.weight"), WEIGHT)
    assert torch.equal(found["optimizer"]["state"].pop(ADDRESS)["momentum_buffer"], BUFFER)
    assert found["optimizer"]["param_groups"] == content()["optimizer"]["param_groups"]
    assert (found["epoch"], found["arch"]) == (200, "alexnet")
    assert path.read_bytes() == before


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_beside_such_integers_does_not_run(tmp_path: Path) -> None:
    path = save(tmp_path / "file", call=Touches(tmp_path / "ran"))
    with pytest.raises(ValueError, match="holds more than tensors and plain values"):
        read_torch_file(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("where", ["in an integer", "in a tensor"])
def test_such_a_file_that_was_cut_is_called_damaged(where: str, tmp_path: Path) -> None:
    path = save(tmp_path / "file")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"I13987") + 5] if where == "in an integer" else whole[:-4])
    with pytest.raises(ValueError, match="damaged"):
        read_torch_file(path)
