"""Weights from any file: what is recognised, what is taken, what is refused and with what advice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support import tiny
from support.configs import CONFIGS
from torch import Tensor
from torchvision import models

from deepcluster.models.backbone import Backbone
from deepcluster.models.lenet import LeNet5
from deepcluster.models.resnet import resnet
from deepcluster.weights import exported, layouts, load_backbone, network, recognise
from deepcluster.weights.fit import ARCH_OPTIONS
from deepcluster.weights.start import CheckpointInit, WeightsInit

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def card(backbone: Backbone, target: str, **arch: Any) -> dict[str, Any]:
    """What run.py writes of a network."""
    return {
        "arch": {"_target_": f"deepcluster.models.{target}", **arch},
        "in_channels": backbone.in_channels,
        "image_size": backbone.image_size,
        "resize": backbone.image_size,
        "mean": [0.5] * backbone.in_channels,
        "std": [0.25] * backbone.in_channels,
    }


def start(backbone: Backbone, path: Path, described: dict[str, Any] | None = None, **settings: Any) -> list[str]:
    """init=weights, as run/parts.py applies it."""
    described = described or card(backbone, "resnet.resnet", name="resnet18", small_images=False)
    return WeightsInit(path=str(path), **settings).apply(backbone, card=described, images=tiny.images(4), seed=1)


def small_resnet(name: str = "resnet18", **settings: Any) -> Backbone:
    return resnet(name, **{"in_channels": 3, "image_size": 64, "small_images": False, **settings}).eval()


@pytest.fixture(scope="module")
def theirs() -> models.ResNet:
    torch.manual_seed(0)
    network = models.resnet18(num_classes=5).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr,operator]
    return network


def same_scores(backbone: Backbone, theirs: models.ResNet) -> bool:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.allclose(theirs.fc(backbone(x)), theirs(x), atol=1e-5)


# Files of others ---------------------------------------------------------------------------------------------------


def v2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As DeepCluster-v2's ResNet-50 is released: DataParallel's names, heads instead of fc."""
    heads = {"projection_head.0.weight": torch.ones(4, 512), "prototypes.prototypes0.weight": torch.ones(3, 4)}
    return {f"module.{k}": v for k, v in {**state, **heads}.items() if not k.startswith("fc.")}


@pytest.mark.parametrize(
    ("form", "left_out"),
    [
        (lambda state: state, ["fc.weight", "fc.bias"]),
        (lambda state: {f"module.{k}": v for k, v in state.items()}, ["fc.weight"]),
        (v2, ["projection_head.0.weight", "prototypes.prototypes0.weight"]),
        (lambda state: {"epoch": 3, "arch": "resnet18", "state_dict": state, "best_acc1": 0.5}, ["fc.weight"]),
        (lambda state: {"model": state}, ["fc.weight"]),
    ],
    ids=["torchvision", "parallel", "deepcluster v2", "torch's example", "model"],
)
def test_a_resnet_is_taken_whole_and_what_is_left_out_is_named(
    form: Callable[[dict[str, Tensor]], Any], left_out: list[str], theirs: models.ResNet, tmp_path: Path
) -> None:
    torch.save(form(theirs.state_dict()), tmp_path / "file.pth")
    backbone = small_resnet()
    assert not same_scores(backbone, theirs)
    lines = start(backbone, tmp_path / "file.pth")
    assert same_scores(backbone, theirs)
    assert "resnet18 in torchvision's layout" in lines[0] and f"{len(backbone.state_dict())} tensors taken" in lines[0]
    assert not [name for name in left_out if name not in lines[1]] and lines[1].startswith("left out: ")
    red = "0.228" if "prototypes" in lines[1] else "0.229"
    assert f"'view.std=[{red},0.224,0.225]'" in lines[2]


def test_a_resnet_tells_its_architecture(theirs: models.ResNet, tmp_path: Path) -> None:
    torch.save(v2(theirs.state_dict()), tmp_path / "file.pth")
    backbone, described = load_backbone(tmp_path / "file.pth")
    assert same_scores(backbone, theirs) and not backbone.training
    assert (described["image_size"], described["resize"]) == (224, 256) and described["std"][0] == 0.228


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "wide_resnet50_2", "resnext50_32x4d"])
def test_resnets_are_told_apart(name: str) -> None:
    with torch.device("meta"):
        state = models.get_model(name).state_dict()
    assert layouts.resnet_name(state) == name
    del state["layer2.0.bn1.weight"]
    assert layouts.resnet_name(state) is None


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "vit_tiny_patch16_224"])
def test_timms_weights_are_taken_without_their_classifier(name: str, tmp_path: Path) -> None:
    """Also where the classifier's name, head.fc, begins like a part of the network."""
    timm = pytest.importorskip("timm")
    from deepcluster.models.timm_model import timm_backbone

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5).eval()
    torch.save(network.state_dict(), tmp_path / "file.pth")
    backbone = timm_backbone(name, image_size=224).eval()
    lines = start(backbone, tmp_path / "file.pth", card(backbone, "timm_model.timm_backbone", name=name))
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(x), pre_logits=True)
        assert torch.allclose(backbone(x), expected, atol=1e-5)
    classifier = network.pretrained_cfg["classifier"]
    assert lines[1] == f"left out: {classifier}.weight, {classifier}.bias"


def test_safetensors_of_others_are_read(theirs: models.ResNet, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(theirs.state_dict(), tmp_path / "file.safetensors")
    backbone = small_resnet()
    start(backbone, tmp_path / "file.safetensors")
    assert same_scores(backbone, theirs)


# Files of ours -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tiny.Run:
    return tiny.build(tmp_path_factory.mktemp("run"), max_epochs=1).fit()


def lenet_card() -> dict[str, Any]:
    return card(LeNet5(1, 16, batch_norm=True), "lenet.LeNet5", batch_norm=True)


def test_a_run_of_ours_is_taken(run: tiny.Run) -> None:
    backbone = LeNet5(1, 16, batch_norm=True)
    lines = start(backbone, run.folder, lenet_card())
    assert len(lines) == 1 and "checkpoint of deepcluster" in lines[0]
    state = run.module.backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


def test_a_run_is_one_call_away(run: tiny.Run) -> None:
    backbone, described = load_backbone(str(run.folder))
    x = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(backbone(x), run.module.backbone.eval()(x)) and described == tiny.CARD


def test_a_checkpoint_keeps_the_heads_rows_in_use(run: tiny.Run) -> None:
    found = recognise.read_weights(run.folder)
    assert found.head is not None and found.assignment is not None and found.epoch == 1
    assert torch.equal(found.head[0], run.module.head.linear.weight[: found.assignment.k])
    assert len(found.head[1]) == found.assignment.k


def test_a_plain_state_dict_in_our_names_is_taken(run: tiny.Run, tmp_path: Path) -> None:
    torch.save(run.module.backbone.state_dict(), tmp_path / "file.pth")
    backbone = LeNet5(1, 16, batch_norm=True)
    start(backbone, tmp_path / "file.pth", lenet_card())
    state = run.module.backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("beside", ["both files", "safetensors alone", "folder"])
def test_an_exported_backbone_comes_back(beside: str, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    torch.manual_seed(0)
    backbone = LeNet5(1, 16, batch_norm=True).eval()
    described = lenet_card()
    file = exported.write_exported(tmp_path, backbone, described, epoch=7)
    written = json.loads((tmp_path / "backbone.json").read_text())
    assert written["feature_dim"] == 84 and written["stages"] == ["conv1", "conv2"] and written["mean"] == [0.5]
    if beside == "safetensors alone":
        (tmp_path / "backbone.json").unlink()
    again, card_again = load_backbone(tmp_path if beside == "folder" else file)
    assert card_again == described and recognise.read_weights(file).epoch == 7
    x = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(x), backbone(x))


# What is refused ---------------------------------------------------------------------------------------------------


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ValueError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_stem_is_refused_with_both_shapes_and_what_to_set(theirs: models.ResNet, tmp_path: Path) -> None:
    file = tmp_path / "file.pth"
    torch.save(theirs.state_dict(), file)
    grey = resnet("resnet18", in_channels=1, image_size=28)
    before = grey.state_dict()["features.layer1.0.conv1.weight"].clone()
    said = refused(lambda: start(grey, file, card(grey, "resnet.resnet", name="resnet18", small_images=None)))
    wanted = ["features.conv1.0.weight", "64x1x3x3", "64x3x7x7", "arch.small_images=false", "data.n_channels=3"]
    assert not [text for text in wanted if text not in said], said
    assert "view.size=224" in said
    assert torch.equal(grey.state_dict()["features.layer1.0.conv1.weight"], before), "nothing was loaded"
    edges = small_resnet(sobel=True)
    described = card(edges, "resnet.resnet", name="resnet18", small_images=False, sobel=True)
    said = refused(lambda: start(edges, file, described))
    assert "64x2x7x7" in said and "arch.sobel=false" in said


def test_another_architecture_is_refused_with_the_option_that_fits(theirs: models.ResNet, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    backbone = LeNet5(1, 16, batch_norm=True)
    said = refused(lambda: start(backbone, tmp_path / "file.pth", lenet_card()))
    assert "nothing in" in said and "arch=resnet50 arch.name=resnet18 arch.small_images=false" in said
    torch.save(models.resnet34().state_dict(), tmp_path / "deeper.pth")
    said = refused(lambda: start(small_resnet(), tmp_path / "deeper.pth"))
    assert "layer1.2.conv1.weight" in said and "arch.name=resnet34" in said, "a part of a deeper network"


def test_advice_knows_an_option_of_every_network() -> None:
    for file in (CONFIGS / "arch").glob("*.yaml"):
        target = yaml.safe_load(file.read_text()).get("_target_")  # those without one change another option
        assert target is None or (CONFIGS / "arch" / f"{ARCH_OPTIONS[target]}.yaml").is_file()


def test_a_state_dict_of_an_unknown_first_layer_is_told(theirs: models.ResNet, tmp_path: Path) -> None:
    state = {**theirs.state_dict(), "conv1.weight": torch.zeros(64, 2, 7, 7)}
    torch.save(state, tmp_path / "file.pth")
    said = refused(lambda: start(small_resnet(), tmp_path / "file.pth"))
    assert "reads 2 channels, this network's 3" in said and "arch.sobel=true" in said
    said = refused(lambda: load_backbone(tmp_path / "file.pth"))
    assert "does not tell its architecture" in said and "init=weights" in said


def test_partial_takes_what_fits_and_names_the_rest(theirs: models.ResNet, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    torch.manual_seed(5)
    grey = resnet("resnet18", in_channels=1, image_size=28)
    stem = grey.state_dict()["features.conv1.0.weight"].clone()
    lines = start(grey, tmp_path / "file.pth", partial=True)
    assert lines[2] == "random, as the file has no tensors that fit: features.conv1.0.weight"
    assert torch.equal(grey.state_dict()["features.conv1.0.weight"], stem)
    state = theirs.state_dict()
    assert all(torch.equal(v, state[k.removeprefix("features.")]) for k, v in grey.state_dict().items() if "layer" in k)


def test_nothing_that_fits_is_an_error_also_with_partial(theirs: models.ResNet, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    backbone = LeNet5(1, 16, batch_norm=True)
    assert "nothing in" in refused(lambda: start(backbone, tmp_path / "file.pth", lenet_card(), partial=True))


class Code:
    """What must not run when a file is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("text", ["damaged"]),
        ("cut", ["cut short or damaged"]),
        ("code", ["more than tensors", "not loaded"]),
        ("no tensors", ["is not a known kind of weights"]),
        ("a tensor", ["is not a known kind of weights"]),
        ("safetensors", ["cut short or damaged"]),
    ],
)
def test_a_file_that_is_none_is_refused(how: str, named: list[str], theirs: models.ResNet, tmp_path: Path) -> None:
    file = tmp_path / ("file.safetensors" if how == "safetensors" else "file.pth")
    if how in ("text", "safetensors"):
        file.write_text("hello, this is no file of weights")
    elif how == "cut":
        torch.save(theirs.state_dict(), file)
        file.write_bytes(file.read_bytes()[:100_000])
    elif how == "code":
        torch.save({"state_dict": theirs.state_dict(), "epoch": Code(tmp_path / "ran")}, file)
    else:
        torch.save({"epoch": 3} if how == "no tensors" else torch.ones(3), file)
    said = refused(lambda: start(small_resnet(), file))
    assert not [text for text in [*named, str(file)] if text not in said], said
    assert not (tmp_path / "ran").exists()


def test_a_description_from_a_stranger_builds_no_class_but_ours(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    backbone = LeNet5(1, 16)
    file = exported.write_exported(tmp_path, backbone, {**lenet_card(), "arch": {"_target_": "os.system"}}, epoch=1)
    assert "deepcluster.models." in refused(lambda: load_backbone(file))


def test_weights_that_the_file_replaces_are_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    net, built = small_resnet(), []

    def build(arch: dict[str, Any], *_: Any, **__: Any) -> Backbone:
        built.append(arch)
        return small_resnet()

    monkeypatch.setattr(network, "build", build)
    described = card(net, "resnet.resnet", name="resnet18", small_images=False, weights="IMAGENET1K_V1")
    found = recognise.Weights(path=Path("file"), format="ours", tensors=net.state_dict(), card=described)
    network.build_backbone(described, weights=found)
    assert built[0]["weights"] is None and "pretrained" not in built[0]


def test_as_many_numbers_in_another_shape_do_not_fit(theirs: models.ResNet, tmp_path: Path) -> None:
    state = theirs.state_dict()
    state["layer2.0.conv1.weight"] = state["layer2.0.conv1.weight"].transpose(0, 1).contiguous()
    torch.save(state, tmp_path / "file.pth")
    said = refused(lambda: start(small_resnet(), tmp_path / "file.pth"))
    assert "128x64x3x3" in said and "64x128x3x3" in said


def test_a_spoiled_description_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    file = exported.write_exported(tmp_path, LeNet5(1, 16), lenet_card(), epoch=1)
    (tmp_path / "backbone.json").write_text("{")
    assert "backbone.json is not JSON" in refused(lambda: load_backbone(file))


def test_init_checkpoint_still_wants_our_own_file(theirs: models.ResNet, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    backbone = small_resnet()
    init = CheckpointInit(path=str(tmp_path / "file.pth"))
    said = refused(lambda: init.apply(backbone, card=lenet_card(), images=tiny.images(4), seed=1))
    assert "not a checkpoint of deepcluster" in said


@pytest.mark.parametrize("init", [CheckpointInit, WeightsInit])
def test_another_file_of_a_run_is_told_whatever_reads_it(init: Any, tmp_path: Path) -> None:
    for name in ("summary.json", "config.yaml"):
        (tmp_path / name).write_text("{}")
    said = refused(lambda: init(path=str(tmp_path / "summary.json")).apply(small_resnet(), card={}, images=[], seed=1))
    assert said.endswith(f"summary.json holds no weights; did you mean its run, {tmp_path}?")


def test_no_file_is_told() -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at nowhere"):
        recognise.read_weights("nowhere")
