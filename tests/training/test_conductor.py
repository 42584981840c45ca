"""The conductor's parts against plain computations: extraction, reduction, delivery, failures."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support import tiny
from support.images_of import images_of
from torch import Tensor
from torchvision.io import write_png

from deepcluster.clustering import kmeans_faiss
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import FileImages
from deepcluster.data.shrunk import whole
from deepcluster.data.sources.load import load
from deepcluster.data.view_settings import View
from deepcluster.data.views import feature_view
from deepcluster.features.extraction import FeaturePass, feature_pass, reduced_features
from deepcluster.features.inference import inference_copy
from deepcluster.models.coates import Coates
from deepcluster.models.lenet import LeNet5
from deepcluster.training.optimizer import SGDSettings
from deepcluster.weights import checkpoint


def tiny_pass(
    network: Any = None, *, batch_size: int = 32, dtype: torch.dtype = torch.float32, **options: Any
) -> FeaturePass:
    torch.manual_seed(0)
    backbone = network or LeNet5(1, 16, batch_norm=True)
    pictures = tiny.images()
    view = feature_view(View(size=16), pictures, tiny.MEAN, tiny.STD)
    return feature_pass(
        backbone,
        pictures,
        view,
        batch_size=batch_size,
        num_workers=0,
        device=torch.device("cpu"),
        dtype=dtype,
        **options,
    )


def plain_features() -> Tensor:
    """All features at once by the network itself, in eval mode."""
    torch.manual_seed(0)
    backbone = LeNet5(1, 16, batch_norm=True).eval()
    pixels = tiny.images().images.float() / 255
    with torch.no_grad():
        return backbone((pixels - tiny.MEAN[0]) / tiny.STD[0])


def plain_pca(features: Tensor, dim: int) -> Tensor:
    """PCA, whitening and L2 by an eigen-decomposition in float64; signs are arbitrary."""
    centred = features.double() - features.double().mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred / (len(features) - 1))
    reduced = centred @ directions.flip(1)[:, :dim] / variances.flip(0)[:dim].sqrt()
    return reduced / reduced.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("batch_size", [7, 96])
@pytest.mark.parametrize("buffer_mb", [0, 64])
def test_streamed_reduction_equals_a_plain_one(batch_size: int, buffer_mb: int) -> None:
    """Gram matrices, which no sign changes; with a buffer of 0 every image is computed twice."""
    source = tiny_pass(batch_size=batch_size)
    _, reduced = reduced_features(source, 84, Reduction(dim=8), buffer_mb=buffer_mb, seed=1)
    expected = plain_pca(plain_features(), 8)
    assert reduced is not None
    assert torch.allclose(reduced.double() @ reduced.double().T, expected @ expected.T, atol=2e-4)


@pytest.mark.parametrize("kind", ["of the backbone", "of the embedding", "of a network that needs float32"])
def test_where_the_network_computes_in_bfloat16_the_buffer_loses_no_digit(kind: str) -> None:
    torch.manual_seed(1)
    network = Coates(1, 16, n_filters=8) if "float32" in kind else None
    if network is not None:
        network.code.centroids.normal_()
    embedding = torch.nn.Linear(84, 32) if "embedding" in kind else None
    dim = 32 if "backbone" not in kind else 84
    both = [
        reduced_features(
            tiny_pass(network, dtype=torch.bfloat16, then=embedding), dim, Reduction(dim=8), buffer_mb=buffer_mb, seed=1
        )[1]
        for buffer_mb in (0, 64)
    ]
    assert both[0] is not None and both[1] is not None and torch.equal(*both)


def test_pca_on_a_sample_reduces_all_images() -> None:
    fitted, reduced = reduced_features(tiny_pass(), 84, Reduction(dim=8, fit_images=40), buffer_mb=64, seed=1)
    assert reduced is not None
    assert torch.allclose(reduced, fitted.apply(plain_features()), atol=1e-4)
    _, other = reduced_features(tiny_pass(), 84, Reduction(dim=8, fit_images=40), buffer_mb=64, seed=2)
    assert other is not None and not torch.allclose(reduced, other, atol=1e-3), "the sample does not follow the seed"


def test_without_pca_features_are_normalised_only() -> None:
    _, reduced = reduced_features(tiny_pass(), 84, Reduction(dim=None, whiten=False), buffer_mb=64, seed=1)
    expected = torch.nn.functional.normalize(plain_features(), dim=1)
    assert reduced is not None and torch.allclose(reduced, expected, atol=1e-4)


def test_progress_counts_every_image_once() -> None:
    for buffer_mb in (0, 64):
        counted: list[int] = []
        reduced_features(
            tiny_pass(batch_size=10),
            84,
            Reduction(dim=8),
            buffer_mb=buffer_mb,
            seed=1,
            progress=counted.append,
        )
        assert sum(counted) == tiny.N_IMAGES


def test_a_nan_in_the_features_names_the_image_and_the_way_out() -> None:
    source = tiny_pass(batch_size=10)
    network = source.network

    def breaks(pixels: Tensor) -> Tensor:
        features = network(pixels)
        return torch.where(pixels[:, :1, 0, 0] > (16.5 / 255 - 0.5) / 0.25, torch.nan, features)

    source.network = breaks
    with pytest.raises(ValueError, match=r"train/17.*optimizer\.lr"):
        reduced_features(source, 84, Reduction(dim=8), buffer_mb=64, seed=1)


def test_extraction_changes_neither_weights_nor_mode_nor_statistics(tmp_path: Path) -> None:
    run = tiny.build(tmp_path)
    before = run.weights()
    run.module.backbone.train()
    run.reassign.clusterer.assign(run.module.backbone, device=torch.device("cpu"), moment="epoch 0")
    assert run.module.backbone.training
    assert all(torch.equal(before[name], value) for name, value in run.weights().items())


def test_same_seed_and_moment_give_the_same_assignment_and_others_do_not(tmp_path: Path) -> None:
    clusterer = tiny.build(tmp_path).reassign.clusterer
    torch.manual_seed(0)
    backbone, cpu = LeNet5(1, 16, batch_norm=True), torch.device("cpu")
    first, _ = clusterer.assign(backbone, device=cpu, moment="epoch 0")
    again, _ = clusterer.assign(backbone, device=cpu, moment="epoch 0")
    other, _ = clusterer.assign(backbone, device=cpu, moment="epoch 1")
    assert torch.equal(first.labels, again.labels) and not torch.equal(first.labels, other.labels)


def test_assignment_applied_to_its_own_images_gives_its_labels(tmp_path: Path) -> None:
    run = tiny.build(tmp_path)
    source = tiny_pass()
    torch.manual_seed(0)
    assignment, _ = run.reassign.clusterer.assign(
        LeNet5(1, 16, batch_norm=True), device=torch.device("cpu"), moment="epoch 0"
    )
    features = torch.cat([f for _, f in source.stream(torch.arange(tiny.N_IMAGES))])
    assert torch.equal(assignment.apply(features), assignment.labels)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_of_different_sizes_on_disk_are_clustered(tmp_path: Path, num_workers: int) -> None:
    """Through workers, with PCA, the way a folder of photographs goes; equal to the same images in memory."""
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(tiny.images(40).images):
        padded = torch.nn.functional.pad(image, (0, 0, 0, i % 3), value=7)  # the crop to a square cuts it off again
        write_png(padded[:, : 16 + i % 3], str(tmp_path / "photos" / f"{i:02}.png"))
    data = images_of("folder", root=str(tmp_path / "photos"), in_memory="never", cache_dir="none")
    on_disk = load(*data, "train")
    assert isinstance(on_disk, FileImages)
    torch.manual_seed(0)
    backbone = LeNet5(1, 16, batch_norm=True)
    view = feature_view(View(size=16), on_disk, tiny.MEAN, tiny.STD)
    clusterer = tiny.build(tmp_path / "run").reassign.clusterer
    clusterer = dataclasses.replace(clusterer, images=on_disk, view=view, num_workers=num_workers)
    assignment, _ = clusterer.assign(backbone, device=torch.device("cpu"), moment="epoch 0")
    assert len(assignment.labels) == 40 and assignment.sizes().min() > 0
    view_batch = torch.stack([view.crop_file(whole(on_disk.read(i))) for i in range(40)])
    plain = inference_copy(backbone)(view(view_batch))
    assert torch.equal(assignment.apply(plain), assignment.labels)


def test_an_epoch_begun_twice_reassigns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny.build(tmp_path, max_epochs=2)
    calls: list[str] = []
    assign = run.reassign.clusterer.reassign

    def counted(*args: Any, moment: str, **kwargs: Any) -> Any:
        calls.append(moment)
        return assign(*args, moment=moment, **kwargs)

    monkeypatch.setattr(run.reassign.clusterer, "reassign", counted)
    run.fit()
    assert calls == ["epoch 0", "epoch 1"]


def test_head_is_drawn_anew_in_place_at_each_reassignment(tmp_path: Path) -> None:
    run = tiny.build(tmp_path, max_epochs=1)
    weight = run.module.head.linear.weight
    before = weight.detach().clone()
    run.fit()
    assert run.module.head.linear.weight is weight and not torch.equal(before, weight)
    groups = run.trainer.optimizers[0].param_groups
    assert [group["momentum"] for group in groups] == [0.9, 0.0]
    assert any(parameter is weight for parameter in groups[1]["params"])


def test_a_diverged_loss_is_refused_with_the_key_to_turn(tmp_path: Path) -> None:
    run = tiny.build(tmp_path)
    run.module.head.linear.bias.data.fill_(0)

    def poison(trainer: Any, batch_idx: int) -> None:
        with torch.no_grad():
            run.module.backbone.features[0][0].weight.fill_(float("nan"))

    run.seen.on_batch = poison
    with pytest.raises(ValueError, match=r"optimizer\.lr"):
        run.fit()


def test_a_checkpoint_of_other_images_is_refused(tmp_path: Path) -> None:
    run = tiny.build(tmp_path, max_epochs=1).fit()
    state = run.reassign.state_dict()
    state["assignment"]["labels"] = state["assignment"]["labels"][:50]
    with pytest.raises(ValueError, match=r"clustered 50 images.*has 96"):
        tiny.build(tmp_path / "b").reassign.load_state_dict(state)


def leave_two_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """k-means whose last two centroids no image is nearest to."""
    lloyd = kmeans_faiss.lloyd

    def lost(*args: Any, **kwargs: Any) -> Tensor:
        centroids = lloyd(*args, **kwargs)
        centroids[-2:] += 1e3
        return centroids

    monkeypatch.setattr(kmeans_faiss, "lloyd", lost)


def test_squeezed_clusters_leave_dead_outputs_as_in_2018(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_two_empty(monkeypatch)

    def built(max_epochs: int) -> tiny.Run:
        run = tiny.build(tmp_path, max_epochs=max_epochs)
        run.reassign.clusterer.clustering = KMeans(k=tiny.K, n_iter=5, empty="squeeze", backend="faiss")
        return run

    run = built(2).fit()
    assert run.reassign.assignment is not None and run.module.pseudo_labels is not None
    assert run.reassign.assignment.k == tiny.K - 2 and run.module.head.n_active == tiny.K
    assert run.module.pseudo_labels.unique().tolist() == list(range(tiny.K - 2))
    # no image has these labels, so their scores are pushed down and nothing pulls them up
    assert (run.module.head.linear.bias[-2:] < 0).all() and run.module.head.linear.bias.max() > 0
    assert run.reassign.latest["cluster/n_squeezed"] == 2 and run.reassign.latest["cluster/n_repaired"] == 0
    checkpoint.check_same_clusters(
        checkpoint.load_checkpoint(tmp_path), tiny.K, k_is_fixed=True
    )  # as a resumed run does
    resumed = built(3).fit(resume=True)
    assert resumed.module.head.n_active == tiny.K and resumed.trainer.current_epoch == 3


def test_how_evenly_an_epoch_draws_the_clusters_is_logged(tmp_path: Path) -> None:
    run = tiny.build(tmp_path, max_epochs=1).fit()
    assert run.reassign.assignment is not None
    indices, _ = run.seen.of_epoch(0)
    shares = torch.bincount(run.reassign.assignment.labels[indices]).double() / len(indices)
    logged = run.reassign.latest
    assert logged["cluster/drawn_perplexity"] == pytest.approx(torch.exp(-(shares * shares.log()).sum()).item())
    assert logged["cluster/drawn_largest_share"] == pytest.approx(shares.max().item())


def test_a_heads_momentum_ends_with_its_clusters(tmp_path: Path) -> None:
    """Deep Dive: the head is in the one optimizer, and what that remembers of the old head is removed."""
    remembered: list[tuple[int, Tensor, Tensor]] = []

    def look(trainer: pl.Trainer, batch_idx: int) -> None:
        weight = trainer.lightning_module.head.linear.weight
        buffer = trainer.optimizers[0].state[weight]["momentum_buffer"]
        remembered.append((batch_idx, buffer.clone(), weight.grad.clone()))

    optimizer = SGDSettings(head_momentum=0.5, weight_decay=0.0)
    tiny.build(tmp_path, max_epochs=2, on_batch=look, optimizer=optimizer).fit()
    assert len(remembered) == 12
    for number, (batch_idx, buffer, gradient) in enumerate(remembered):
        before = 0.5 * remembered[number - 1][1] if batch_idx > 0 else 0.0
        torch.testing.assert_close(buffer, before + gradient)
