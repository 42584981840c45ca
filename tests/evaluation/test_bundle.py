"""A bundle holds all that assigns and embeds new pictures, and says how."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.bundles import K, bundle, clustered, paint

from deepcluster.data.crops import square
from deepcluster.data.decode import decode_file
from deepcluster.evaluation.bundle import pictures_to_compare, read_names
from deepcluster.evaluation.export import Export
from deepcluster.weights.network import load_backbone
from deepcluster.weights.recognise import read_weights


def test_clusters_and_backbone_come_back(tmp_path: Path) -> None:
    context = clustered(tmp_path, paint(tmp_path / "pictures"), stored_size=24)
    Export(formats=["bundle"], out=str(tmp_path / "b")).run(context)
    found, stored = read_weights(tmp_path / "b"), context.stored.assignment
    assert found.format == "bundle" and found.epoch == 3 and found.assignment is not None and stored is not None
    for name, tensor in {"centroids": stored.centroids, "labels": stored.labels}.items():
        assert torch.equal(getattr(found.assignment, name), tensor)
    assert stored.reduction is not None and found.assignment.reduction is not None
    assert found.assignment.objective == stored.objective
    assert found.assignment.reduction.l2 and torch.equal(found.assignment.reduction.mean, stored.reduction.mean)
    features = torch.randn(9, 84)
    for mine, theirs in zip(found.assignment.place(features), stored.place(features), strict=True):
        assert torch.equal(mine, theirs)
    network, card = load_backbone(tmp_path / "b")
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(x), context.backbone(x)) and card["resize"] == 18
    assert json.loads((tmp_path / "b" / "backbone.json").read_text())["reading"]["stored_size"] == 24
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == [
        *("README.md", "backbone.json", "backbone.safetensors", "clusters.safetensors")
    ]


def test_the_distance_is_that_to_the_nearest_centroid(tmp_path: Path) -> None:
    stored = clustered(tmp_path, paint(tmp_path / "pictures")).stored.assignment
    assert stored is not None and stored.reduction is not None
    features = torch.randn(50, 84)
    clusters, distances = stored.place(features)
    expected = torch.cdist(stored.reduction.apply(features), stored.centroids).min(dim=1)
    assert torch.equal(clusters, expected.indices) and torch.equal(clusters, stored.apply(features))
    torch.testing.assert_close(distances, expected.values, atol=1e-4, rtol=1e-4)


def test_other_files_are_not_written_over(tmp_path: Path) -> None:
    context = clustered(tmp_path, paint(tmp_path / "pictures"))
    with pytest.raises(ValueError, match="holds other files"):
        Export(formats=["bundle"], out=str(tmp_path / "pictures")).run(context)
    assert not (tmp_path / "pictures" / "README.md").exists()
    with pytest.raises(ValueError, match="is a file"):
        Export(formats=["bundle"], out=str(tmp_path / "pictures" / "00.png")).run(context)
    for _ in range(2):  # an older bundle may be written over
        Export(formats=["bundle"]).run(context)
    assert (tmp_path / "bundle" / "README.md").is_file()
    context.stored.assignment = None
    with pytest.raises(ValueError, match="holds no clusters"):
        Export(formats=["bundle"], out=str(tmp_path / "none")).run(context)
    assert not (tmp_path / "none").exists()


def test_names_are_checked_and_go_into_the_bundle_and_its_card(tmp_path: Path) -> None:
    context = clustered(tmp_path, paint(tmp_path / "pictures"))
    (tmp_path / "names.csv").write_text("cluster,name\n3,dogs\n0,\n1,café\n")
    Export(formats=["bundle"], license="mit").run(context)
    assert read_names(tmp_path / "bundle" / "names.csv", K) == {"1": "café", "3": "dogs"}
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "| 3 | dogs |" in card and "license: mit\n" in card and "names.csv" in card
    (tmp_path / "names.csv").write_text("cluster,name\n5,dogs\n")
    with pytest.raises(ValueError, match=r"names cluster '5'; there are clusters 0 to 4"):
        Export(formats=["bundle"]).run(context)
    assert read_names(tmp_path / "names.csv", None) == {"5": "dogs"}
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Export(formats=["bundle"], names=str(tmp_path / "none.csv")).run(context)


def test_the_card_shows_what_the_run_measured(tmp_path: Path) -> None:
    context = clustered(tmp_path, paint(tmp_path / "pictures"))
    table = [["", "pixels", "trained"], ["k-NN accuracy", "40.0%", "50.0%"]]
    summary = {"table": table, "learned": "training added 3 points", "seed": 7}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    Export(formats=["bundle"]).run(context)
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "| | pixels | trained |\n|---|---|---|\n| k-NN accuracy | 40.0% | 50.0% |" in card
    assert "training added 3 points." in card and "seed 7" in card and "Not chosen yet" in card
    front = card.split("---\n")[1]
    assert "license: unknown\n" in front and "library_name: deepcluster\n" in front
    assert str(tmp_path) not in card  # no path of the one who exports
    (tmp_path / "summary.json").unlink()
    Export(formats=["bundle"]).run(context)
    assert "Not known" in (tmp_path / "bundle" / "README.md").read_text()


@pytest.mark.parametrize(
    ("start", "epochs", "said"),
    [
        ("untrained", 3, "It was trained without labels for 3 epochs on 40 images (data=folder)."),
        (
            "pretrained",
            1,
            "for 1 epoch on 40 images (data=folder), from weights that were trained before, perhaps with",
        ),
        ("pretrained", 0, "It has weights that were trained before, perhaps with labels, and was not trained"),
        ("untrained", 0, "It has the weights with which it starts, and was not trained"),
    ],
)
def test_the_card_claims_no_more_than_was_done(start: str, epochs: int, said: str, tmp_path: Path) -> None:
    context = clustered(tmp_path, paint(tmp_path / "pictures"))
    context.stored.epoch = epochs
    (tmp_path / "summary.json").write_text(json.dumps({"start": start}))
    Export(formats=["bundle"]).run(context)
    assert said in (tmp_path / "bundle" / "README.md").read_text()


def test_onnx_is_left_out_of_a_bundle_where_the_extra_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    context = clustered(tmp_path, paint(tmp_path / "pictures"))
    Export(formats=["bundle", "onnx"]).run(context)
    said: Any = context.progress
    assert any("left out" in line and "onnx" in line for line in said.lines)
    assert not (tmp_path / "bundle" / "model.onnx").exists() and (tmp_path / "bundle" / "README.md").is_file()
    assert "model.onnx" not in (tmp_path / "bundle" / "README.md").read_text()
    with pytest.raises(ImportError, match="needs an extra"):
        Export(formats=["onnx"]).run(context)


@pytest.mark.slow
def test_one_onnx_gives_features_cluster_and_distance_of_pictures(tmp_path: Path) -> None:
    """By the card's own lines, which know neither torch nor us, and by the squares that torch sees."""
    runtime = pytest.importorskip("onnxruntime")
    pictures = paint(tmp_path / "pictures")
    found = bundle(tmp_path, pictures, "onnx")
    card = (found / "README.md").read_text()
    assert "16 of the run's pictures, with the same clusters" in card
    context = replace(clustered(tmp_path, pictures), dtype=torch.float32)
    images, assignment = context.train_images, context.stored.assignment
    assert assignment is not None
    squares = torch.stack([square(images.read(i), 18, 16) for i in range(len(images))])
    view = (squares / 255 - torch.tensor([0.4, 0.5, 0.6]).view(-1, 1, 1)) / torch.tensor([0.2, 0.25, 0.3]).view(
        -1, 1, 1
    )
    with torch.no_grad():
        expected = context.backbone(view)
    clusters, distances = assignment.place(expected)
    session = runtime.InferenceSession(str(found / "model.onnx"))
    for n in (1, 7, len(squares)):
        features, cluster, distance = session.run(None, {"images": squares[:n].numpy()})
        np.testing.assert_allclose(features, expected[:n].numpy(), atol=1e-4)
        np.testing.assert_allclose(distance, distances[:n].numpy(), atol=1e-4)
        assert cluster.tolist() == clusters[:n].tolist()
    names: dict[str, Any] = {}
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[-1]
    exec(code.partition("session =")[0], names)
    shown = np.stack([names["pixels"](pictures / name) for name in images.samples])
    assert np.abs(shown.astype(int) - squares.numpy()).max() <= 1  # Pillow and torchvision round differently
    assert (session.run(["cluster"], {"images": shown})[0] == clusters.numpy()).mean() > 0.9
    icon = Image.open(pictures / images.samples[0]).convert("RGBA")
    icon.putalpha(100)
    icon.save(tmp_path / "icon.png")
    on_white = square(decode_file(str(tmp_path / "icon.png"), 3), 18, 16)
    assert np.abs(names["pixels"](tmp_path / "icon.png").astype(int) - on_white.numpy()).max() <= 1


def test_a_bundle_can_be_made_where_the_pictures_are_gone(tmp_path: Path) -> None:
    context = clustered(tmp_path, paint(tmp_path / "pictures"))
    pictures, what = pictures_to_compare(context)
    assert pictures is not None and pictures.shape == (16, 3, 16, 16) and "16 of" in what
    shutil.rmtree(tmp_path / "pictures")
    assert pictures_to_compare(context) == (None, "random pixels")


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    whole = bundle(tmp_path, paint(tmp_path / "pictures"))
    for name in ("backbone.safetensors", "backbone.json", "clusters.safetensors"):
        copy = tmp_path / f"no {name}"
        shutil.copytree(whole, copy)
        (copy / name).unlink()
        if name != "clusters.safetensors":  # without it the folder is an exported backbone
            with pytest.raises(FileNotFoundError, match=f"{name} is missing, though .* is there"):
                read_weights(copy)
        else:
            assert read_weights(copy).assignment is None
    for name in ("backbone.safetensors", "clusters.safetensors"):
        copy = tmp_path / f"damaged {name}"
        shutil.copytree(whole, copy)
        content = bytearray((copy / name).read_bytes())
        content[-9] ^= 4
        (copy / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is damaged .*checksum"):
            read_weights(copy)
        (copy / name).write_bytes(content[:-20])
        with pytest.raises(ValueError, match=f"{name} is cut short or damaged"):
            read_weights(copy)


def test_clusters_of_another_network_are_refused(tmp_path: Path) -> None:
    whole = bundle(tmp_path, paint(tmp_path / "pictures"))
    described = json.loads((whole / "backbone.json").read_text())
    (whole / "backbone.json").write_text(json.dumps({**described, "feature_dim": 512}))
    with pytest.raises(ValueError, match="of another network: its clusters are of 84 features"):
        read_weights(whole)


@pytest.mark.slow
def test_a_network_of_timm_is_exported_in_timms_names(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from deepcluster.models.timm_model import timm_backbone
    from deepcluster.weights.exported import read_safetensors

    context = clustered(tmp_path, paint(tmp_path / "pictures"))
    torch.manual_seed(0)
    backbone = timm_backbone("resnet10t", 3, 32).eval()
    arch = {"_target_": "deepcluster.models.timm_model.timm_backbone", "name": "resnet10t"}
    context.stored.card = {**context.card, "arch": arch, "image_size": 32, "resize": 32}
    context.backbone = backbone
    assert context.stored.assignment is not None
    context.stored.assignment.reduction = None
    context.stored.assignment.centroids = torch.randn(K, backbone.feature_dim)
    Export(formats=["bundle"]).run(context)
    tensors, _ = read_safetensors(tmp_path / "bundle" / "backbone.safetensors")
    assert tensors.keys() == timm.create_model("resnet10t", num_classes=0).state_dict().keys()
    theirs = timm.create_model(f"local-dir:{tmp_path / 'bundle'}", pretrained=True).eval()
    by_file = timm.create_model(
        "resnet10t", num_classes=0, checkpoint_path=str(tmp_path / "bundle" / "backbone.safetensors")
    ).eval()
    ours, _ = load_backbone(tmp_path / "bundle")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(theirs(x), backbone(x)) and torch.equal(by_file(x), backbone(x))
        assert torch.equal(ours(x), backbone(x))
    assert theirs.pretrained_cfg["mean"] == [0.4, 0.5, 0.6]
    assert "local-dir" in (tmp_path / "bundle" / "README.md").read_text()
