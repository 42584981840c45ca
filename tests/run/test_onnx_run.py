"""A run of an ONNX file is that of its network, and needs the file no more once it has ended."""

import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose
from support.bundles import paint
from support.onnx_files import SIZE, network, write_onnx
from torch import nn

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.export import Export
from deepcluster.evaluation.probe.transfer import Transfer
from deepcluster.evaluation.retrieval.instance_retrieval import Retrieval
from deepcluster.evaluation.voc07.fine_tuning import Voc07
from deepcluster.evaluation.voc07.settings import FineTuning
from deepcluster.models.backbone import Backbone
from deepcluster.run import parts
from deepcluster.run.evaluate import evaluate
from deepcluster.run.predict import context_of_pictures, predicted
from deepcluster.run.train import train
from deepcluster.settings.eval import EvalConfig
from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.settings.train import TrainConfig
from deepcluster.system.tables import read_csv
from deepcluster.visualization.gradient_ascent import GradientAscent
from deepcluster.weights.network import load_backbone
from deepcluster.weights.start import WeightsInit

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytestmark = pytest.mark.usefixtures("composer")


class Itself(Backbone):
    """`network` as one of ours, which is measured by its features too."""

    def convolutional(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self(images)
        return features


def settings(*words: str) -> TrainConfig:
    return new_or_resumed_config(compose("train", list(words)), list(words))


def of_file(pictures: Path, file: Path, *words: str) -> TrainConfig:
    start = ["arch=onnx", "init=weights", f"init.path={file}", f"view.size={SIZE}", "trainer.max_epochs=0"]
    images = ["data=folder", f"data.root={pictures}", "reading.cache_dir=none", "page=false"]
    small = ["clustering.k=5", "reduction.dim=4", "trainer.precision=32-true", "evaluation.baselines=false"]
    return settings(*start, *images, *small, *words)


@pytest.fixture(scope="module")
def ended(composer: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with pictures, run/ and no longer the ONNX file; summary.json of the run."""
    folder = tmp_path_factory.mktemp("onnx")
    file = write_onnx(folder / "net.onnx")
    summary = train(of_file(paint(folder / "pictures"), file), folder / "run")
    file.rename(folder / "away.onnx")
    return folder, summary


def clusters_of(run: Path) -> dict[str, str]:
    return {row["sample"]: row["cluster"] for row in read_csv(run / "clusters.csv")}


def test_the_line_of_precision_is_the_files(ended: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = ended
    built = parts.build_parts(of_file(folder / "pictures", folder / "away.onnx", "trainer.precision=bf16-mixed"))
    (line,) = (line for line in built.describe("folder", 8, 1) if line.startswith("precision"))
    assert "bf16" not in line and "changes nothing" in line


def test_its_clusters_are_those_of_the_network_itself(
    ended: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, summary = ended

    def itself(card: dict[str, Any], **_: Any) -> Backbone:
        convolution, relu, pool, flat, _ = network()
        return Itself(
            features=nn.Sequential(OrderedDict(conv1=nn.Sequential(convolution, relu))),
            neck=nn.Sequential(pool, flat),
            **{"feature_dim": 6, "stages": ["conv1"], "in_channels": 3, "image_size": SIZE, "sobel": False},
        )

    monkeypatch.setattr(parts, "build_backbone", itself)
    monkeypatch.setattr(WeightsInit, "apply", lambda *_, **__: [])
    other = train(of_file(folder / "pictures", folder / "away.onnx"), tmp_path / "itself")
    assert clusters_of(folder / "run") == clusters_of(tmp_path / "itself") and len(clusters_of(folder / "run")) == 40
    assert summary["start"] == "pretrained" and "pretrained" in summary
    for name in ("crops_nearest", "crops_together", "clusters_used"):
        assert summary["pretrained"][name] == pytest.approx(other["pretrained"][name])


def test_what_follows_needs_the_file_no_more(ended: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = ended
    run, before = folder / "run", clusters_of(folder / "run")
    backbone, card = load_backbone(run)
    x = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), network()[:4](x), atol=1e-5, rtol=1e-4)
    assert card["mean"] == [0.485, 0.456, 0.406]  # which the file left open
    shutil.copytree(folder / "pictures", tmp_path / "more")
    paint(tmp_path / "more" / "new", 5, first=60)
    train(settings(f"follows={run}", f"data.root={tmp_path / 'more'}"), tmp_path / "next")
    following, _ = load_backbone(tmp_path / "next")
    now = clusters_of(tmp_path / "next")
    with torch.no_grad():
        assert torch.equal(following(x), backbone(x))
    assert len(now) == 45 and sum(now[name] == cluster for name, cluster in before.items()) > 35
    evaluate(EvalConfig(ckpt=str(run), evaluation=Export(formats=["bundle", "onnx"])), tmp_path)
    card_text = (tmp_path / "bundle" / "README.md").read_text()
    assert "model.onnx" not in card_text and "million weights" not in card_text
    for model in (run, tmp_path / "bundle"):
        (batch,) = predicted(context_of_pictures(str(model), [str(folder / "pictures")]))
        assert [str(int(cluster)) for cluster in batch.clusters] == list(before.values())


def test_the_file_itself_is_what_is_exported(ended: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = ended
    evaluate(EvalConfig(ckpt=str(folder / "run"), evaluation=Export(formats=["onnx"])), tmp_path)
    assert (tmp_path / "backbone.onnx").read_bytes() == (folder / "away.onnx").read_bytes()
    for name in ("torchvision", "official"):
        with pytest.raises(ValueError, match=f'leave "{name}" out of'):
            evaluate(EvalConfig(ckpt=str(folder / "run"), evaluation=Export(formats=[name])), tmp_path)


def test_it_is_not_trained_nor_of_other_channels(tmp_path: Path) -> None:
    file, pictures = write_onnx(tmp_path / "net.onnx"), paint(tmp_path / "pictures")
    for words, said in (
        (["trainer.max_epochs=1"], "no weights that training could change; set trainer.max_epochs=0"),
        (["data.n_channels=1"], "takes 3 channels, the images have 1; set data.n_channels=3"),
        (["data.n_channels=1", "data.root=nowhere"], "takes 3 channels"),  # before it looks for images
        (["view.size=20", "data.root=nowhere"], "not view.size=20; set view.size=16"),
    ):
        with pytest.raises(ValueError, match=said):
            train(of_file(pictures, file, *words), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "evaluation", [Voc07(root="nowhere", training=FineTuning(mode="all")), Transfer(), GradientAscent(), Retrieval()]
)
def test_what_needs_weights_or_stages_is_refused(
    evaluation: Evaluator, ended: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"this network has no (trainable weights|stages)"):
        evaluate(EvalConfig(ckpt=str(ended[0] / "run"), evaluation=evaluation), tmp_path)


@pytest.mark.slow
def test_exports_of_our_own_start_a_run_with_the_same_clusters(tmp_path: Path) -> None:
    """Pixels in, features out: the normalisation of the first run is in the graph."""
    pictures = paint(tmp_path / "pictures")
    images = ["data=folder", f"data.root={pictures}", "reading.cache_dir=none", "page=false", f"view.size={SIZE}"]
    small = ["clustering.k=5", "reduction.dim=8", "trainer.precision=32-true", "evaluation.enabled=false"]
    train(settings(*images, *small, "arch=lenet5", "trainer.max_epochs=0"), tmp_path / "first")
    evaluate(EvalConfig(ckpt=str(tmp_path / "first"), evaluation=Export(formats=["onnx"])), tmp_path)
    train(of_file(pictures, tmp_path / "backbone.onnx", *small), tmp_path / "second")
    assert clusters_of(tmp_path / "first") == clusters_of(tmp_path / "second")
    embedded = [np.load(tmp_path / name / "embeddings.npy") for name in ("first", "second")]
    np.testing.assert_allclose(*embedded, atol=1e-4)
