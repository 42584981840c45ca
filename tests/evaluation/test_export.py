"""Exported files compute what the backbone computes, in the programs that they are for."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.networks_2018 import alexnet_2018, stir
from torch import Tensor
from torchvision import models

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.export import Export
from deepcluster.features.settings import Extraction
from deepcluster.models.alexnet import AlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates, PatchCode
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.weights import load_backbone, onnx_file
from deepcluster.weights.recognise import Weights


@dataclass
class Said:
    """Keeps what would be told."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def bar(self, title: str, total: int, unit: str) -> Any:
        raise AssertionError("export shows no bar")


def export(
    backbone: Backbone, folder: Path, target: str, *formats: str, head: tuple[Tensor, Tensor] | None = None, **arch: Any
) -> tuple[dict[str, float], list[str]]:
    """evaluation=export, and what it says."""
    card = {
        "arch": {"_target_": f"deepcluster.models.{target}", **arch},
        "in_channels": backbone.in_channels,
        "image_size": backbone.image_size,
        "resize": backbone.image_size,
        "mean": [0.3, 0.4, 0.5][: backbone.in_channels],
        "std": [0.2, 0.25, 0.3][: backbone.in_channels],
    }
    stored = Weights(path=Path("some/file.ckpt"), format="", tensors={}, card=card, epoch=5, head=head)
    said = Said()
    context = EvaluationContext(
        backbone=backbone.eval(),
        stored=stored,
        data_settings=None,
        extraction=Extraction(),
        folder=folder,
        seed=1,
        progress=said,
        device=torch.device("cpu"),
    )
    return Export(formats=list(formats)).run(context), said.lines


def test_torchvision_takes_a_resnet_with_only_fc_missing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = resnet("resnet18", 3, 64, small_images=False)
    stir(backbone, 0)
    results, lines = export(backbone, tmp_path, "resnet.resnet", "torchvision", name="resnet18")
    theirs = models.resnet18(num_classes=5)
    found = theirs.load_state_dict(torch.load(tmp_path / "backbone_torchvision.pth", weights_only=True), strict=False)
    assert found.missing_keys == ["fc.weight", "fc.bias"] and not found.unexpected_keys
    theirs.fc = torch.nn.Identity()  # type: ignore[assignment]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(theirs.eval()(x), backbone(x), atol=1e-5)
    assert "models.resnet18()" in lines[0] and "fc is missing" in lines[0] and "conv1 is" not in lines[0]
    assert results["feature_dim"] == 512 and results["torchvision_bytes"] > 4e7


def test_another_stem_and_other_networks_are_told(tmp_path: Path) -> None:
    _, lines = export(resnet("resnet18", 1, 28), tmp_path, "resnet.resnet", "torchvision", name="resnet18")
    assert "this one 1 channels 3x3" in lines[0]
    backbone = LeNet5(1, 16)
    _, lines = export(backbone, tmp_path, "lenet.LeNet5", "torchvision")
    assert "torchvision has no LeNet5" in lines[0]
    state = torch.load(tmp_path / "backbone_torchvision.pth", weights_only=True)
    assert LeNet5(1, 16).load_state_dict(state)


def test_safetensors_and_card_come_back(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    backbone = LeNet5(1, 16, batch_norm=True)
    export(backbone, tmp_path, "lenet.LeNet5", "safetensors", batch_norm=True)
    state = safetensors.load_file(tmp_path / "backbone.safetensors")
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())
    card = json.loads((tmp_path / "backbone.json").read_text())
    assert card["mean"] == [0.3] and card["feature_dim"] == 84 and card["epochs"] == 5
    again, _ = load_backbone(tmp_path)
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(x), backbone(x))


def test_official_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="AlexNet and VGG-16 only"):
        export(LeNet5(1, 16), tmp_path, "lenet.LeNet5", "safetensors", "official")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_official_is_what_the_2018_code_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = AlexNet()
    stir(backbone, 1)
    head = (torch.randn(11, 4096), torch.randn(11))
    _, lines = export(backbone, tmp_path, "alexnet.AlexNet", "official", head=head)
    assert "11 clusters" in lines[0]
    content = torch.load(tmp_path / "deepcluster.pth.tar", weights_only=True)
    network = alexnet_2018(sobel=True, out=11)
    network.load_state_dict({k.replace(".module", ""): v for k, v in content["state_dict"].items()})
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        features = backbone(x)
        assert torch.allclose(network.eval().clustered(x), features, atol=1e-5)
        assert torch.allclose(network(x), features.relu() @ head[0].T + head[1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sobel", [False, True])
def test_onnx_computes_the_features_of_pixels(sobel: bool, tmp_path: Path) -> None:
    """Normalised as the feature view does, for any batch."""
    runtime = pytest.importorskip("onnxruntime")
    from deepcluster.data.views import FeatureView

    torch.manual_seed(0)
    backbone = LeNet5(3, 16, batch_norm=True, sobel=sobel)
    stir(backbone, 2)
    results, _ = export(backbone, tmp_path, "lenet.LeNet5", "onnx", batch_norm=True, sobel=sobel)
    assert results["onnx_largest_difference"] < 1e-5
    session = runtime.InferenceSession(str(tmp_path / "backbone.onnx"))
    view = FeatureView(16, 16, [0.3, 0.4, 0.5], [0.2, 0.25, 0.3])
    for n in (1, 5):
        pixels = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8)
        (found,) = session.run(None, {"images": pixels.numpy()})
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(found), backbone(view(pixels)), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_onnx_codes_patches_as_a_coates_network_does(layers: int, hard: bool, tmp_path: Path) -> None:
    """For any batch, though torch computes a few images at a time."""
    runtime = pytest.importorskip("onnxruntime")
    from deepcluster.models.patches import Whitening

    torch.manual_seed(0)
    backbone = Coates(3, 12, n_filters=6, patch_size=3, hard=hard, layers=layers)
    codes = [backbone.code] if backbone.second is None else [backbone.code, *backbone.second.codes]
    for code in codes:
        assert isinstance(code, PatchCode)
        d = len(code.mean)
        whitening = Whitening(mean=torch.randn(d), matrix=torch.randn(d, d) / d**0.5)
        code.learn(torch.randn_like(code.centroids), whitening, contrast=0.1)
    export(backbone, tmp_path, "coates.Coates", "onnx", n_filters=6, patch_size=3, hard=hard, layers=layers)
    session = runtime.InferenceSession(str(tmp_path / "backbone.onnx"))
    for n in (1, 5):
        pixels = torch.randint(0, 256, (n, 3, 12, 12), dtype=torch.uint8)
        (found,) = session.run(None, {"images": pixels.numpy()})
        mean, std = torch.tensor([0.3, 0.4, 0.5]).view(-1, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(-1, 1, 1)
        expected = backbone((pixels / 255 - mean) / std)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_an_onnx_graph_that_computes_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_file, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="differ from torch's"):
        export(LeNet5(1, 16), tmp_path, "lenet.LeNet5", "onnx")
    assert not list(tmp_path.iterdir())


def test_the_head_of_a_finished_run_is_found_beside_final_ckpt(tmp_path: Path) -> None:
    """final.ckpt holds no head; last.ckpt of the same epoch does."""
    from deepcluster.evaluation.export_files import _head

    state = {"head.linear.weight": torch.ones(6, 3), "head.linear.bias": torch.zeros(6), "head._extra_state": 4}
    card = {"arch": {}, "in_channels": 1, "image_size": 28, "resize": 28, "mean": [0.5], "std": [0.5]}
    content = {"deepcluster": card, "callbacks": {}, "state_dict": state, "epoch": 8}
    torch.save(content, tmp_path / "last.ckpt")
    stored = Weights(path=tmp_path / "final.ckpt", format="", tensors={}, epoch=9)
    found = _head(stored)
    assert found is not None and found[0].shape == (4, 3)
    stored.epoch = 10  # trained on since
    assert _head(stored) is None
