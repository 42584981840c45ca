"""What an ONNX file tells of its network, and what is refused of it."""

from pathlib import Path
from typing import Any

import pytest
from support.onnx_files import SIZE, write_onnx

from deepcluster.data.view_settings import View
from deepcluster.models.lenet import LeNet5
from deepcluster.weights.fit import fit_weights
from deepcluster.weights.onnx_start import TARGET
from deepcluster.weights.recognise import read_weights
from deepcluster.weights.start import CheckpointInit, KMeansPatchesInit, RandomInit, WeightsInit

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

ARCH = {"_target_": TARGET, "output": None, "pool": "mean"}


def asked(file: Path, view: View | None = None, **arch: Any) -> tuple[dict[str, Any], View]:
    return WeightsInit(path=str(file)).network({**ARCH, **arch}, view or View(size=SIZE))[:2]


def test_the_file_tells_size_features_and_normalisation(tmp_path: Path) -> None:
    of_floats = read_weights(write_onnx(tmp_path / "a.onnx", "count", "logits", "maps"))
    assert of_floats.card is not None and of_floats.format == "ONNX file"
    assert of_floats.card["arch"] == {
        **{"_target_": TARGET, "output": "logits", "pool": "mean"},
        **{"n_bytes": (tmp_path / "a.onnx").stat().st_size, "feature_dim": 3},
    }
    assert (of_floats.card["image_size"], of_floats.card["in_channels"]) == (SIZE, 3)
    assert of_floats.card["mean"] == [0.485, 0.456, 0.406]
    first, second = of_floats.notes
    assert first == (
        "its output 'logits' of count, logits, maps is read, or arch.output=NAME of a run "
        "(the tensor 'features' is what its last layer reads)"
    )
    assert "does not tell how its images are normalised: by ImageNet's" in second
    of_pixels = read_weights(write_onnx(tmp_path / "b.onnx", form="uint8"))
    assert of_pixels.card is not None and of_pixels.card["mean"] == [0, 0, 0] and of_pixels.notes == []
    of_any_size = read_weights(write_onnx(tmp_path / "c.onnx", sides=("h", "w")))
    assert of_any_size.card is not None and of_any_size.card["image_size"] == 224


def test_settings_that_were_typed_overrule_the_file(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx", "logits", sides=("h", "w"))
    arch, view = asked(file)
    assert (arch["output"], arch["feature_dim"], view.mean) == ("logits", 3, [0.485, 0.456, 0.406])
    arch, view = asked(file, View(size=24, mean=[0.5] * 3, std=[0.5] * 3), output="features")
    assert (arch["output"], arch["feature_dim"], view.mean, view.size) == ("features", 6, [0.5] * 3, 24)
    other = {"_target_": "deepcluster.models.lenet.LeNet5"}
    assert RandomInit().network(other, View()) == (other, View(), None)


@pytest.mark.parametrize(
    ("outputs", "form", "said"),
    [
        ([], {"sides": (SIZE, 2 * SIZE)}, "its images are 32x16, and only square ones are cut"),
        ([], {"inputs": 2}, "takes one batch of them .* it takes images .* more_0"),
        (["count"], {}, "of 2 images it gives count .*int64: no features"),
    ],
)
def test_networks_that_make_no_features_of_images_are_refused(
    outputs: list[str], form: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"net.onnx: .*{said}"):
        read_weights(write_onnx(tmp_path / "net.onnx", *outputs, **form))


def test_what_does_not_fit_the_file_is_refused(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx", "logits")
    pixels = write_onnx(tmp_path / "pixels.onnx", form="uint8")
    of_any_size = write_onnx(tmp_path / "any.onnx", "logits", sides=("h", "w"))
    for wrong, said in (
        (lambda: asked(file, View(size=32)), r"its images are 16x16, not view.size=32; set view.size=16"),
        (lambda: asked(file, output="none"), r"arch.output=none: it has no such tensor; its outputs are logits"),
        (lambda: asked(file, pool="first"), r"arch.pool=first takes the first of tokens"),
        (lambda: asked(pixels, View(size=SIZE, mean=[0.5] * 3, std=[0.5] * 3)), "leave view.mean and view.std out"),
        (lambda: RandomInit().network(ARCH, View()), "set init=weights init.path=FILE.onnx"),
        (lambda: KMeansPatchesInit().network(ARCH, View()), "set init=weights init.path=FILE.onnx"),
        (
            lambda: CheckpointInit(path=str(of_any_size)).network({**ARCH, "pool": "most"}, View()),
            "arch.pool must be one",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()
    with pytest.raises(ValueError, match=r"nothing in .*net.onnx \(ONNX file\) fits this network.* set arch=onnx"):
        fit_weights(read_weights(file), LeNet5(3, SIZE))


def test_broken_files_are_refused(tmp_path: Path) -> None:
    content = write_onnx(tmp_path / "net.onnx").read_bytes()
    beside = write_onnx(tmp_path / "apart.onnx", beside=True)
    (tmp_path / "apart.onnx_data").unlink()
    for name, broken in (("text", b"no network at all"), ("cut", content[: len(content) // 2]), ("empty", b"")):
        (tmp_path / f"{name}.onnx").write_bytes(broken)
        with pytest.raises(ValueError, match=rf"{name}.onnx.*(is no ONNX file|onnxruntime cannot run it)"):
            read_weights(tmp_path / f"{name}.onnx")
    with pytest.raises(ValueError, match=r"apart.onnx is no ONNX file, is damaged, or lacks the weights beside it"):
        read_weights(beside)
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none.onnx")
    import torch

    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth holds no ONNX file, which arch=onnx runs"):
        asked(tmp_path / "other.pth")
