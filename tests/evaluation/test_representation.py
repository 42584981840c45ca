"""Which images a probe learns from and is tested on."""

import torch
from torch import Tensor

from deepcluster.data.images import MemoryImages
from deepcluster.evaluation.representation import Evaluation, labelled_split


def images(labels: Tensor | None, n: int = 100) -> MemoryImages:
    pixels = torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
    return MemoryImages(images=pixels, samples=[str(i) for i in range(n)], labels=labels)


LABELS = torch.arange(100) % 4


def test_a_labelled_test_set_is_the_test_set() -> None:
    test = images(LABELS)
    split = labelled_split(images(LABELS), test, Evaluation(), seed=1)
    assert split is not None and split.test is test
    assert len(split.train_indices) == len(split.test_indices) == 100


def test_without_labels_in_the_test_set_a_share_of_the_training_images_is_held_out() -> None:
    for test in (None, images(None), images(torch.full((100,), -1))):  # -1: as Hugging Face publishes test sets
        split = labelled_split(images(LABELS), test, Evaluation(), seed=1)
        assert split is not None and split.test is split.train
        assert sorted(torch.cat([split.train_indices, split.test_indices]).tolist()) == list(range(100))
        assert len(split.test_indices) == 20


def test_unlabelled_images_are_left_out() -> None:
    labels = torch.where(torch.arange(100) < 60, LABELS, -1)
    split = labelled_split(images(labels), images(labels), Evaluation(max_images=30), seed=1)
    assert split is not None
    assert len(split.train_indices) == 30 and int(split.train_indices.max()) < 60
    assert split.test_indices.tolist() == list(range(60))


def test_nothing_is_measured_without_labels_or_with_one_class() -> None:
    assert labelled_split(images(None), None, Evaluation(), seed=1) is None
    assert labelled_split(images(torch.zeros(100, dtype=torch.int64)), None, Evaluation(), seed=1) is None
