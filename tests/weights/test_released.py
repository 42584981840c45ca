"""The 2018 files: what they compute comes out the same here, and ours can be read there."""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.networks_2018 import Network2018, alexnet_2018, stir, vgg16_2018
from support.python2_pickle import PYTHON_2
from torch import Tensor
from torch.nn import functional as F

from deepcluster.models.alexnet import AlexNet, SmallAlexNet
from deepcluster.models.resnet import resnet
from deepcluster.models.vgg import VGG16
from deepcluster.weights import load_backbone, recognise, released

CHANNELS = (8, 12, 10, 10, 6)
VGG_CHANNELS = tuple(n // 16 for n in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512))
WIDE = 20
K = 7


def twin(arch: str, *, sobel: bool, bn: bool = True, seed: int = 0) -> Network2018:
    """A narrow network of 2018, every value of its own, in eval mode."""
    torch.manual_seed(seed)
    if arch == "alexnet":
        network = alexnet_2018(sobel=sobel, bn=bn, out=K, channels=CHANNELS, hidden=WIDE)
    else:
        network = vgg16_2018(sobel=sobel, bn=bn, out=K, narrow=16, hidden=WIDE)
    with torch.no_grad():
        for module in network.modules():  # N(0, 0.01) would hide differences in the last layers
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(0, 0.1)
    stir(network, seed)
    return network.eval()


def file_of(
    network: Network2018,
    arch: Any,
    path: Path,
    *,
    rename: Callable[[str], Any] = lambda name: name.replace("features.", "features.module.", 1),
    keep: Callable[[str], bool] = lambda name: not name.endswith("num_batches_tracked"),
    optimizer: bool = False,
    pickle_module: Any = pickle,
) -> Path:
    """Save as main.py of 2018 does: before zip files, keys as DataParallel makes them, no counts of batches."""
    state = OrderedDict((rename(name), value) for name, value in network.state_dict().items() if keep(name))
    content: dict[str, Any] = {"epoch": 200, "arch": arch, "state_dict": state}
    if optimizer:
        trained = [p for p in network.parameters() if p.requires_grad]
        sgd = torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=1e-5)
        network(images(2)).sum().backward()
        sgd.step()
        content["optimizer"] = sgd.state_dict()
        content["state_dict"] = OrderedDict((rename(n), v) for n, v in network.state_dict().items() if keep(n))
    torch.save(content, path, pickle_module=pickle_module, _use_new_zipfile_serialization=False)
    return path


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 224, 224, generator=torch.Generator().manual_seed(n))


@torch.no_grad()
def assert_same_values(path: Path, network: Network2018, *, top: bool = True) -> None:
    backbone, _ = load_backbone(path)
    x = images()
    features = backbone(x)
    expected = network.clustered(x)
    assert expected.std() > 1e-2
    assert torch.allclose(features, expected, atol=1e-5, rtol=1e-4), (features - expected).abs().max()
    if top:
        head = recognise.read_weights(path).head
        assert head is not None
        logits = F.linear(F.relu(features), *head)
        assert torch.allclose(logits, network(x), atol=1e-5, rtol=1e-4)


# Reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bn", [True, False], ids=["bn", "no_bn"])
@pytest.mark.parametrize("sobel", [True, False], ids=["sobel", "colour"])
@pytest.mark.parametrize("arch", ["alexnet", "vgg16"])
def test_a_2018_file_gives_the_same_features_and_the_same_scores(
    arch: str, sobel: bool, bn: bool, tmp_path: Path
) -> None:
    network = twin(arch, sobel=sobel, bn=bn)
    path = file_of(network, arch, tmp_path / "checkpoint.pth.tar")
    assert_same_values(path, network)
    found = recognise.read_weights_with_card(path)
    assert found.card is not None and found.epoch == 200
    assert found.card["arch"]["sobel"] is sobel and found.card["arch"]["batch_norm"] is bn
    assert found.card["mean"] == [0.485, 0.456, 0.406] and found.card["std"] == [0.229, 0.224, 0.225]
    assert (found.card["image_size"], found.card["resize"], found.card["in_channels"]) == (224, 256, 3)
    assert found.card["arch"]["dropout"] == 0.5  # trained on, as in 2018
    assert not [name for name in found.tensors if "sobel" in name]  # ours is fixed


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: f"module.{name}",
        lambda name: "module." + name.replace("features.", "features.module.", 1),
        lambda name: name.encode(),
    ],
    ids=["plain", "all parallel", "parallel twice", "bytes"],
)
def test_names_may_have_module_anywhere_or_be_bytes(rename: Callable[[str], Any], tmp_path: Path) -> None:
    network = twin("alexnet", sobel=True)
    assert_same_values(file_of(network, "alexnet", tmp_path / "file", rename=rename), network)


def test_a_file_that_python_2_wrote_is_read(tmp_path: Path) -> None:
    network = twin("alexnet", sobel=True)
    path = file_of(network, "alexnet", tmp_path / "file", pickle_module=PYTHON_2)
    assert b"U\x05epoch" in path.read_bytes()
    assert_same_values(path, network)


def test_arch_may_be_bytes(tmp_path: Path) -> None:
    network = twin("alexnet", sobel=False)
    assert_same_values(file_of(network, b"alexnet", tmp_path / "file"), network)


def test_a_file_with_an_optimizer_and_counts_of_batches_is_read(tmp_path: Path) -> None:
    network = twin("alexnet", sobel=True)
    path = file_of(network, "alexnet", tmp_path / "file", optimizer=True, keep=lambda name: True)
    assert_same_values(path, network)


def test_a_file_in_half_precision_is_read_with_its_sobel(tmp_path: Path) -> None:
    network = twin("alexnet", sobel=True)
    path = file_of(network.half(), "alexnet", tmp_path / "file.pth.tar")
    network.float()
    assert network.sobel is not None
    network.sobel[0].weight.data.fill_(1 / 3)  # half precision has 0.33325
    assert_same_values(path, network, top=False)


def test_a_file_without_top_layer_is_read(tmp_path: Path) -> None:
    network = twin("alexnet", sobel=True)
    path = file_of(network, "alexnet", tmp_path / "file", keep=lambda name: "top_layer" not in name)
    assert_same_values(path, network, top=False)
    assert recognise.read_weights(path).head is None


def test_a_file_that_lacks_a_part_of_its_own_network_is_called_incomplete(tmp_path: Path) -> None:
    lacking = "features.0.bias"
    path = file_of(twin("alexnet", sobel=True), "alexnet", tmp_path / "x.pth.tar", keep=lambda name: name != lacking)
    with pytest.raises(ValueError, match=r"features\.0\.bias there.*the file is incomplete") as e:
        load_backbone(path)
    assert "set arch" not in str(e.value)  # a file alone takes its network from itself: there is nothing to set


def test_what_is_no_tensor_among_the_weights_is_missing_there(tmp_path: Path) -> None:
    path = tmp_path / "x.pth.tar"
    torch.save({"epoch": 1, "arch": "alexnet", "state_dict": {"features.0.weight": 3}}, path)
    with pytest.raises(ValueError, match="has 5 convolutions, but its state_dict has 0"):
        load_backbone(path)


def test_torchvisions_alexnet_is_read_as_one_without_batchnorm(tmp_path: Path) -> None:
    """The same numbers; its last layer is classifier.6."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    network = alexnet(num_classes=5).eval()
    torch.save(network.state_dict(), tmp_path / "file")
    backbone, _ = load_backbone(tmp_path / "file")
    head = recognise.read_weights(tmp_path / "file").head
    assert head is not None
    with torch.no_grad():
        assert torch.allclose(F.linear(F.relu(backbone(images())), *head), network(images()), atol=1e-5)


def spoiled(network: Network2018, how: str) -> dict[str, Any]:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    arch = "alexnet"
    if how == "wrong arch":
        arch = "vgg16"
    elif how == "sobel":
        state["sobel.1.bias"] += 2
    elif how == "no fc7":
        del state["classifier.4.weight"]
    elif how == "no convolution":
        state = {name: value for name, value in state.items() if "features" not in name}
    elif how == "shape":
        state["features.4.weight"] = torch.zeros(12, 8, 3, 3)
    elif how == "no bias":
        del state["features.4.bias"]
    elif how == "grey":
        state["sobel.0.weight"] = torch.ones(1, 1, 1, 1)
    elif how == "wide top_layer":
        state["top_layer.weight"] = torch.zeros(K, WIDE - 1)
    elif how == "short top_layer":
        state["top_layer.bias"] = torch.zeros(K - 1)
    return {"epoch": 1, "arch": arch, "state_dict": state}


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("wrong arch", ["arch=vgg16", "13 convolutions", "has 5"]),
        ("sobel", ["sobel.1.bias", "cannot be used"]),
        ("no fc7", ["classifier.4.weight"]),
        ("no convolution", ["5 convolutions", "has 0"]),
        ("shape", ["features.conv2.0.weight", "features.4.weight", "12x8x5x5", "12x8x3x3"]),
        ("no bias", ["features.conv2.0.bias", "no such tensor"]),
        ("grey", ["1 channels", "take 3"]),
        ("wide top_layer", ["top_layer.weight", "7x19 and 7", "its 20 features"]),
        ("short top_layer", ["top_layer.weight", "7x20 and 6"]),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(how: str, named: list[str], tmp_path: Path) -> None:
    path = tmp_path / "file.pth.tar"
    torch.save(spoiled(twin("alexnet", sobel=True), how), path)
    with pytest.raises(ValueError) as refused:
        load_backbone(path)
    assert not [name for name in [*named, str(path)] if name not in str(refused.value)], refused.value


# Writing -----------------------------------------------------------------------------------------------------------


def ours(arch: str, *, sobel: bool | str) -> AlexNet | VGG16:
    torch.manual_seed(3)
    network: AlexNet | VGG16
    if arch == "alexnet":
        network = AlexNet(3, 224, channels=CHANNELS, hidden=WIDE, feature_dim=WIDE, sobel=sobel)
    else:
        network = VGG16(3, 224, channels=VGG_CHANNELS, hidden=WIDE, feature_dim=WIDE, sobel=sobel)
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, 0, 0.1)
    stir(network, 3)
    return network.eval()


@pytest.mark.parametrize("sobel", [True, False, "random"], ids=["sobel", "colour", "random"])
@pytest.mark.parametrize("arch", ["alexnet", "vgg16"])
def test_what_we_write_computes_the_same_in_2018_and_comes_back(arch: str, sobel: bool | str, tmp_path: Path) -> None:
    backbone = ours(arch, sobel=sobel).to(memory_format=torch.channels_last)  # as a run keeps it
    head = (torch.randn(K, WIDE), torch.randn(K))
    content = released.content_2018(backbone, arch, epoch=12, head=head)
    path = tmp_path / "deepcluster.pth.tar"
    path.write_bytes(released.bytes_2018(content))
    assert path.read_bytes()[:2] != b"PK", "a zip file, which torch before 1.6 does not read"
    read = torch.load(path, weights_only=True)
    assert read["epoch"] == 12 and read["arch"] == arch and "optimizer" not in read

    # what util.load_model of 2018 does: the size from top_layer.bias, Sobel from its key, `.module` removed
    out, has_sobel = len(read["state_dict"]["top_layer.bias"]), "sobel.0.weight" in read["state_dict"]
    make = {
        "alexnet": lambda: alexnet_2018(sobel=has_sobel, out=out, channels=CHANNELS, hidden=WIDE),
        "vgg16": lambda: vgg16_2018(sobel=has_sobel, out=out, narrow=16, hidden=WIDE),
    }
    network = make[arch]()
    assert [name for name in read["state_dict"] if name.startswith("features")] == [
        name for name in read["state_dict"] if name.startswith("features.module.")
    ]
    network.load_state_dict({name.replace(".module", ""): value for name, value in read["state_dict"].items()})
    network.eval()
    with torch.no_grad():
        features = backbone(images())
        assert torch.allclose(network.clustered(images()), features, atol=1e-5, rtol=1e-4)
        assert torch.allclose(network(images()), F.linear(F.relu(features), *head), atol=1e-5, rtol=1e-4)

    again, card = load_backbone(path)
    assert card["arch"]["sobel"] is sobel
    state = backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    returned = recognise.read_weights(path).head
    assert returned is not None and torch.equal(returned[0], head[0]) and torch.equal(returned[1], head[1])


def test_without_module_the_names_are_those_of_a_plain_network() -> None:
    content = released.content_2018(ours("alexnet", sobel=True), "alexnet", epoch=1, head=None, module=False)
    network = alexnet_2018(sobel=True, out=1, channels=CHANNELS, hidden=WIDE)
    assert network.load_state_dict(content["state_dict"])  # strict
    assert network.top_layer is not None and not network.top_layer.weight.any()


def test_a_file_holds_no_more_than_its_tensors() -> None:
    """Rows of a larger head would else bring the whole of it along."""
    capacity = torch.randn(50_000, WIDE)
    backbone = ours("alexnet", sobel=True)
    content = released.bytes_2018(
        released.content_2018(backbone, "alexnet", epoch=1, head=(capacity[:K], torch.zeros(K)))
    )
    n_values = sum(value.numel() for value in backbone.state_dict().values())
    assert len(content) < 4 * n_values + 4 * K * WIDE + 50_000


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (lambda: AlexNet(batch_norm=False), ["batch_norm=True", "False"]),
        (lambda: AlexNet(image_size=128), ["image_size=224", "128"]),
        (lambda: AlexNet(in_channels=1), ["in_channels=3", "1"]),
        (lambda: AlexNet(feature_dim=100), ["feature_dim=4096", "100"]),
        (lambda: VGG16(channels=VGG_CHANNELS), ["channels=[64, 64"]),
        (lambda: SmallAlexNet(), ["AlexNet and VGG-16 only", "SmallAlexNet", "evaluation.formats"]),
        (lambda: resnet("resnet18"), ["AlexNet and VGG-16 only", "resnet"]),
    ],
    ids=["no bn", "128", "grey", "feature_dim", "channels", "small", "resnet"],
)
def test_what_2018_does_not_know_is_refused(network: Callable[[], Any], named: list[str]) -> None:
    with torch.device("meta"):  # shapes only
        built = network()
    name = "resnet.resnet" if "resnet" in named else f"alexnet.{type(built).__name__}"
    with pytest.raises(ValueError) as refused:
        released.check_readable_2018(built, {"arch": {"_target_": f"deepcluster.models.{name}"}})
    assert not [text for text in named if text not in str(refused.value)], refused.value


@pytest.mark.parametrize("sobel", [True, False])
@pytest.mark.parametrize(("arch", "network"), [("alexnet", AlexNet), ("vgg16", VGG16)])
def test_the_papers_networks_are_those_of_2018(arch: str, network: Callable[..., Any], sobel: bool) -> None:
    """Without an allowance for narrow ones: the full sizes by name, shape and order of the twin."""
    with torch.device("meta"):
        built = network(sobel=sobel)
        twin_2018 = {"alexnet": alexnet_2018, "vgg16": vgg16_2018}[arch](sobel=sobel, out=1)
    assert released.check_readable_2018(built, {}) == arch
    state = {k: v for k, v in twin_2018.state_dict().items() if not k.startswith(("sobel", "top_layer"))}
    layout = released.layouts.layout_2018(built)
    assert layout is not None
    assert {layout.names[name]: value.shape for name, value in built.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }


def test_the_files_form_is_read_by_a_plain_unpickler() -> None:
    """No class of ours is in it."""
    content = released.bytes_2018(released.content_2018(ours("alexnet", sobel=True), "alexnet", epoch=1, head=None))
    assert b"deepcluster" not in content
    assert torch.load(io.BytesIO(content), weights_only=True)["arch"] == "alexnet"
