"""Files of weights may hold numbers of numpy, from Python 2 and 3; whatever else a pickle can call is refused."""

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepcluster.weights.checkpoint import read_torch_file

NUMBERS = {
    "epoch": np.int64(-5),
    "prec1": np.float64(0.1),
    "loss": np.float32(2.5),
    "big": np.dtype(">i4").type(7),
    "best": np.bool_(True),
    "count": np.uint8(200),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("as_zip", [True, False])
def test_numbers_of_numpy_become_pythons(as_zip: bool, tmp_path: Path) -> None:
    file = tmp_path / "x.pth.tar"
    content = {**NUMBERS, "state_dict": {"a": torch.arange(3.0)}}
    torch.save(content, file, _use_new_zipfile_serialization=as_zip)
    found = read_torch_file(file)
    assert {name: found[name] for name in NUMBERS} == {name: value.item() for name, value in NUMBERS.items()}
    assert type(found["epoch"]) is int and type(found["prec1"]) is float and type(found["best"]) is bool
    assert found["state_dict"]["a"].tolist() == [0, 1, 2]


def legacy(pickled: bytes) -> bytes:
    """A file as torch wrote it before 1.6, around one pickle without tensors."""
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [0x1950A86A20F9469CFC6C, 1001, sizes]  # torch.serialization: MAGIC_NUMBER, PROTOCOL_VERSION
    return b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps([], 2)


def of_python_2(dtype: bytes, order: bytes, content: bytes) -> bytes:
    """{"epoch": a numpy scalar} as Python 2 pickled it: bytes are strings (U), numpy.core is the module."""
    build = b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    kind = b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype + b"K\x00K\x01\x87R" + build
    call = b"cnumpy.core.multiarray\nscalar\n" + kind + b"U" + bytes([len(content)]) + content + b"\x86R"
    return b"\x80\x02}U\x05epoch" + call + b"s."


@pytest.mark.parametrize(
    ("dtype", "order", "content", "number"),
    [
        (b"i8", b"<", struct.pack("<q", 499), 499),
        (b"f8", b"<", struct.pack("<d", -38.4), -38.4),  # bytes above 127
        (b"f8", b">", struct.pack(">d", 0.1), 0.1),
    ],
)
def test_numbers_that_python_2_wrote_are_read(
    dtype: bytes, order: bytes, content: bytes, number: float, tmp_path: Path
) -> None:
    file = tmp_path / "x.pth.tar"
    file.write_bytes(legacy(of_python_2(dtype, order, content)))
    assert read_torch_file(file) == {"epoch": number}


class Code:
    """Pickles as a call of os.mkdir."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("as_zip", [True, False])
def test_code_beside_a_number_does_not_run(as_zip: bool, tmp_path: Path) -> None:
    file = tmp_path / "x.pth.tar"
    content = {"epoch": np.int64(5), "code": Code(tmp_path / "ran")}
    torch.save(content, file, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(ValueError, match="more than tensors and plain values"):
        read_torch_file(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2),  # needs numpy's own functions
        np.zeros(1, dtype=[("a", "i8"), ("b", "O")])[0],
        np.str_("text"),
        np.datetime64("2018-07-15"),
        np.dtype("O"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_numpy_pickles_besides_numbers_is_refused(value: Any, tmp_path: Path) -> None:
    torch.save({"epoch": value}, tmp_path / "x.pth.tar")
    with pytest.raises(ValueError, match="more than tensors and plain values"):
        read_torch_file(tmp_path / "x.pth.tar")


@pytest.mark.parametrize(("dtype", "content"), [(b"i8", b"1234"), (b"O8", b"12345678"), (b"V8", b"12345678")])
def test_bytes_that_are_no_number_are_refused(dtype: bytes, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pth.tar").write_bytes(legacy(of_python_2(dtype, b"|", content)))
    with pytest.raises(ValueError, match="more than tensors and plain values"):
        read_torch_file(tmp_path / "x.pth.tar")
