"""arch=onnx gives the features that torch computes of the same weights, in whatever form the file is."""

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.onnx_files import MEAN, SIZE, STD, features_of, maps_of, write_onnx

from deepcluster.features.inference import inference_copy
from deepcluster.models.onnx_network import OnnxNetwork
from deepcluster.weights.network import build_backbone
from deepcluster.weights.onnx_start import CONTENT
from deepcluster.weights.recognise import read_weights

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def loaded(file: Path, **arch: Any) -> OnnxNetwork:
    weights = read_weights(file)
    assert weights.card is not None
    backbone = build_backbone({**weights.card, "arch": {**weights.card["arch"], **arch}}, weights=weights)
    assert isinstance(backbone, OnnxNetwork)
    return backbone


def images(n: int = 5) -> torch.Tensor:
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("form", "atol"),
    [
        ({}, 1e-5),
        ({"batch": 1}, 1e-5),
        ({"batch": 4}, 1e-5),  # five images: two batches, the second filled up
        ({"sides": ("h", "w")}, 1e-5),
        ({"channels_last": True}, 1e-5),
        ({"channels_last": True, "batch": 2, "sides": ("h", "w")}, 1e-5),
        ({"form": "float16"}, 5e-3),
        ({"beside": True}, 1e-5),
    ],
)
def test_features_are_those_of_torch(form: dict[str, Any], atol: float, tmp_path: Path) -> None:
    network = loaded(write_onnx(tmp_path / "net.onnx", **form))
    found = network(images())
    assert found.dtype == torch.float32 and network.feature_dim == 6
    torch.testing.assert_close(found, features_of(images()), atol=atol, rtol=1e-3)
    torch.testing.assert_close(network.convolutional(images()), found)
    assert network.taps(images(), {"features": torch.clone})["features"].equal(found)


@pytest.mark.parametrize("channels_last", [False, True])
def test_maps_and_tokens_are_pooled(channels_last: bool, tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx", "count", "maps", "tokens", channels_last=channels_last)
    maps = maps_of(images())
    for arch, expected in (
        ({"output": "maps"}, maps.mean(dim=(2, 3))),
        ({"output": "tokens"}, maps.mean(dim=(2, 3))),
        ({"output": "tokens", "pool": "first"}, maps[:, :, 0, 0]),
        ({"output": "features"}, maps.mean(dim=(2, 3))),  # a tensor inside
    ):
        torch.testing.assert_close(loaded(file, **arch)(images()), expected, atol=1e-5, rtol=1e-4)
    assert loaded(file).neck.onnx.output == "tokens"  # of features, tokens and maps the one of fewest dimensions


def test_pixels_are_given_as_they_are(tmp_path: Path) -> None:
    weights = read_weights(write_onnx(tmp_path / "net.onnx", form="uint8"))
    assert weights.card is not None
    mean, std = (torch.tensor(weights.card[name]).view(-1, 1, 1) for name in ("mean", "std"))
    pixels = torch.randint(0, 256, (3, 3, SIZE, SIZE))
    found = loaded(tmp_path / "net.onnx")((pixels / 255 - mean) / std)
    expected = features_of((pixels / 255 - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_copies_compute_the_same_and_other_bytes_something_else(tmp_path: Path) -> None:
    network, x = loaded(write_onnx(tmp_path / "a.onnx")), images()
    found = network(x)
    for twin in (
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        inference_copy(network, dtype=torch.bfloat16),
    ):
        assert torch.equal(twin(x), found)
    other = read_weights(write_onnx(tmp_path / "b.onnx", seed=1)).tensors
    assert len(other[CONTENT]) == network.neck.onnx.content.numel()
    network.load_state_dict(other)
    torch.testing.assert_close(network(x), features_of(x, seed=1), atol=1e-5, rtol=1e-4)


def test_without_onnxruntime_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = loaded(write_onnx(tmp_path / "net.onnx"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="arch=onnx needs onnxruntime: pip install onnxruntime"):
        copy.deepcopy(network)(images())
    with pytest.raises(ImportError, match=r"net.onnx needs an extra: pip install .*onnx"):
        read_weights(tmp_path / "net.onnx")
