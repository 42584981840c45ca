"""Trained weights on this machine are found by name and by file, in caches laid out as torch and the hub do it."""

import json
from pathlib import Path

import pytest
import torch
from support.bundles import bundle, paint
from torchvision import models

from deepcluster.run import starts
from deepcluster.run.starts import local_starts, named_start

RESNET18 = Path(models.ResNet18_Weights.DEFAULT.url).name


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty ones: torch/checkpoints and hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(starts, "_hub_cache", lambda: tmp_path / "hub")
    (tmp_path / "torch" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub").mkdir()
    return tmp_path


def of_timm(hub: Path, name: str, tag: str, n_bytes: int) -> Path:
    """What the hub's library leaves of a network of timm."""
    folder = hub / f"models--timm--{name}.{tag}" / "snapshots" / "0a1b"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architecture": name, "pretrained_cfg": {"tag": tag}}))
    (folder / "model.safetensors").write_bytes(bytes(n_bytes))
    return folder / "model.safetensors"


def test_a_resnet_of_torchvision_is_found_where_torch_keeps_it(caches: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights are not on this machine .*nothing is downloaded"):
        named_start("resnet18")
    assert local_starts() == []
    file = caches / "torch" / "checkpoints" / RESNET18
    file.write_bytes(bytes(100))
    for start in (named_start("resnet18"), *local_starts()):
        assert start.file == file and start.called == "resnet18 of torchvision" and start.arch == "resnet50"
        assert start.words == [
            *("arch.name=resnet18", "arch.small_images=false", "data.n_channels=3"),
            *("view.mean=[0.485,0.456,0.406]", "view.std=[0.229,0.224,0.225]"),
            *("init=weights", f"init.path={file}"),
        ]


def test_networks_of_timm_are_found_where_the_hub_keeps_them_the_smallest_first(caches: Path) -> None:
    pytest.importorskip("timm")
    large = of_timm(caches / "hub", "resnet18", "a1_in1k", 300)
    small = of_timm(caches / "hub", "vit_tiny_patch16_224", "augreg_in21k_ft_in1k", 200)
    of_timm(caches / "hub", "unheard_of", "x", 10)
    (caches / "torch" / "checkpoints" / RESNET18).write_bytes(bytes(250))
    assert [start.file.stat().st_size for start in local_starts()] == [200, 250, 300]
    vit = local_starts()[0]
    assert vit.file == small and vit.fixed_size and vit.sizes(500) == [224] and vit.arch == "timm"
    assert "arch.name=vit_tiny_patch16_224.augreg_in21k_ft_in1k" in vit.words
    assert named_start("resnet18.a1_in1k").file == large


def test_sizes_fit_the_pictures(caches: Path) -> None:
    (caches / "torch" / "checkpoints" / RESNET18).write_bytes(b"x")
    start = named_start("resnet18")
    assert start.sizes(500) == [224, 160, 128, 96] and start.sizes(130) == [160, 128, 96] and start.sizes(40) == [96]


def test_files_and_folders_that_tell_their_network_are_starts(caches: Path) -> None:
    whole = bundle(caches, paint(caches / "pictures"))
    start = named_start(str(whole))
    assert start.called == "bundle" and start.arch == "lenet" and start.sizes(40) == [16]
    assert "arch.batch_norm=true" in start.words and f"init.path={whole / 'backbone.safetensors'}" in start.words
    torch.save({"a.weight": torch.zeros(2)}, caches / "plain.pth")
    with pytest.raises(ValueError, match="does not tell its architecture; say it, in place of start="):
        named_start(str(caches / "plain.pth"))


def test_a_name_that_nobody_knows_is_refused(caches: Path) -> None:
    with pytest.raises(ValueError, match="start=resnet81 is n"):
        named_start("resnet81")
    for path in ("weights.pth", "models/resnet18", "a b.safetensors"):
        with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
            named_start(path)
