"""torch.hub finds the entry points in a clone, without Hydra, Lightning or faiss."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.networks_2018 import alexnet_2018
from support.configs import REPOSITORY


def load(name: str, **settings: Any) -> Any:
    return torch.hub.load(str(REPOSITORY), name, source="local", **settings)


def test_a_2018_file_is_a_call_away(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = alexnet_2018(sobel=True, out=3, channels=(4, 4, 4, 4, 4), hidden=8).eval()
    torch.save({"epoch": 1, "arch": "alexnet", "state_dict": network.state_dict()}, tmp_path / "file.pth.tar")
    x = torch.randn(2, 3, 224, 224)
    narrow = {"channels": [4] * 5, "hidden": 8, "feature_dim": 8}
    with torch.no_grad():
        expected = network.clustered(x)
        net = load("backbone", path=str(tmp_path / "file.pth.tar"))
        assert torch.allclose(net(x), expected, atol=1e-6) and not net.training
        assert net.card["mean"] == [0.485, 0.456, 0.406]
        assert torch.allclose(load("alexnet", path=str(tmp_path / "file.pth.tar"), **narrow)(x), expected, atol=1e-6)
        untrained = load("alexnet", **narrow)(x)
    assert untrained.shape == (2, 8) and not torch.allclose(untrained, expected, atol=1e-3)


@pytest.mark.parametrize(("name", "settings"), [("vgg16", {"hidden": 8, "image_size": 32}), ("resnet50", {})])
def test_each_network_can_be_had_untrained(name: str, settings: dict[str, Any]) -> None:
    net = load(name, sobel=True, **settings)
    assert net.sobel is not None and not net.training
    assert {"vgg16": "conv13", "resnet50": "layer4"}[name] == net.stages[-1]


def test_the_networks_need_no_more_than_the_dependencies_that_are_named() -> None:
    code = (
        "import sys\n"
        "for name in ('hydra', 'omegaconf', 'pytorch_lightning', 'faiss', 'wandb', 'sklearn', 'tqdm', 'rich', "
        "'timm', 'pyarrow', 'safetensors', 'onnx'):\n    sys.modules[name] = None\n"
        f"import torch\ntorch.hub.load({str(REPOSITORY)!r}, 'alexnet', source='local', channels=[2] * 5, hidden=2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
