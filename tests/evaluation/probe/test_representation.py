"""Which images a probe learns from and is tested on, and where the numbers are computed."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from deepcluster.data.images import MemoryImages
from deepcluster.evaluation.clusters.class_clusters import nmi_of_class_clusters
from deepcluster.evaluation.probe import knn_and_probe
from deepcluster.evaluation.probe import labelled_split as splits
from deepcluster.evaluation.probe.knn import knn_accuracy
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import Knn, LinearProbe
from deepcluster.evaluation.probe.whitened import whitened
from deepcluster.system.seeding import mix


def images(labels: Tensor | None, n: int = 100) -> MemoryImages:
    pixels = torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
    return MemoryImages(images=pixels, samples=[str(i) for i in range(n)], labels=labels)


LABELS = torch.arange(100) % 4


def labelled_split(
    train: MemoryImages, test: MemoryImages | None, *, seed: int, max_images: int | None = None
) -> LabelledSplit | None:
    return splits.labelled_split(train, test, max_images=max_images, test_share=0.2, seed=seed)


def test_a_labelled_test_set_is_the_test_set() -> None:
    test = images(LABELS)
    split = labelled_split(images(LABELS), test, seed=1)
    assert split is not None and split.test is test
    assert len(split.train_indices) == len(split.test_indices) == 100


def test_without_labels_in_the_test_set_a_share_of_the_training_images_is_held_out() -> None:
    for test in (None, images(None), images(torch.full((100,), -1))):  # -1: as Hugging Face publishes test sets
        split = labelled_split(images(LABELS), test, seed=1)
        assert split is not None and split.test is split.train
        assert sorted(torch.cat([split.train_indices, split.test_indices]).tolist()) == list(range(100))
        assert len(split.test_indices) == 20


def test_unlabelled_images_are_left_out() -> None:
    labels = torch.where(torch.arange(100) < 60, LABELS, -1)
    split = labelled_split(images(labels), images(labels), max_images=30, seed=1)
    assert split is not None
    assert len(split.train_indices) == 30 and int(split.train_indices.max()) < 60
    assert split.test_indices.tolist() == list(range(60))


def test_nothing_is_measured_without_labels_or_with_one_class() -> None:
    assert labelled_split(images(None), None, seed=1) is None
    assert labelled_split(images(torch.zeros(100, dtype=torch.int64)), None, seed=1) is None


def test_the_seed_draws_which_images_are_held_out() -> None:
    held_out = [labelled_split(images(LABELS), None, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (split.test_indices.tolist() for split in held_out if split is not None)
    assert first == again != other


def test_probe_and_neighbours_learn_from_the_training_part_and_are_asked_of_the_test_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = images(LABELS.flip(0)), images(LABELS[:60], n=60)
    split = LabelledSplit(
        train=train, train_indices=torch.arange(10, 90), test=test, test_indices=torch.arange(1, 60, 2)
    )
    features = {
        len(part): 1.5 * torch.eye(4)[part.labels] + torch.randn(len(part), 4, generator=generator)
        for part in (train, test)
    }

    def source(part: Any) -> Any:
        return SimpleNamespace(device=torch.device("cpu"), features=features[len(part)])

    seeds: list[int] = []

    def fit(*arguments: Any, seed: int) -> Any:
        seeds.append(seed)
        return fit_probe(*arguments, seed=seed)

    monkeypatch.setattr(knn_and_probe, "fit_probe", fit)
    monkeypatch.setattr(knn_and_probe, "collect", lambda feature_pass, indices: feature_pass.features[indices])
    knn, recipe = Knn(k=5), LinearProbe(epochs=3, learning_rates=[0.01, 0.1])
    found = knn_and_probe.measure_features(split, source, knn=knn, linear_probe=recipe, seed=4)
    assert train.labels is not None and test.labels is not None
    learned = features[100][10:90], train.labels[10:90]
    asked = features[60][1::2], test.labels[1::2]
    probe = fit_probe(*learned, *asked, recipe, seed=mix(4, "probe"))
    white = whitened(learned[0], asked[0], seed=4)
    assert seeds == [mix(4, "probe")]
    assert found == {
        "knn_accuracy": knn_accuracy(*learned, *asked, knn),
        "linear_probe_accuracy": probe.accuracy,
        "linear_probe_lr": probe.learning_rate,
        "nmi_classes": nmi_of_class_clusters(*learned, *asked, seed=4),
        "knn_whitened_accuracy": knn_accuracy(white[0], learned[1], white[1], asked[1], knn),
    }


class Sized:
    """A tensor of 100 bytes that tells where it was brought."""

    nbytes = 100

    def to(self, device: torch.device) -> torch.device:
        return device


@pytest.mark.parametrize(("free", "fits"), [(600, True), (599, False)])  # a third for 2 x 100 bytes
def test_features_go_to_a_gpu_with_room_and_its_products_are_float32(
    free: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    gpu, tensors = torch.device("cuda"), [Sized(), Sized()]
    torch.set_float32_matmul_precision("medium")
    try:
        with knn_and_probe._on_gpu_if_room(gpu, *tensors) as found:  # type: ignore[arg-type]  # stand-ins
            assert list(found) == ([gpu, gpu] if fits else tensors)
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    with knn_and_probe._on_gpu_if_room(torch.device("cpu"), *tensors) as found:  # type: ignore[arg-type]
        assert list(found) == tensors


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_the_tensors() -> None:
    with knn_and_probe._on_gpu_if_room(torch.device("cuda"), torch.arange(3.0), torch.arange(2)) as found:
        assert [tensor.device.type for tensor in found] == ["cuda", "cuda"]
        assert [tensor.tolist() for tensor in found] == [[0, 1, 2], [0, 1]]
