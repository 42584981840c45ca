"""evaluation=knn: which images vote and are tested, through which layer."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.nearest_neighbours import knn_predictions, majority_predictions
from support.evaluated import context, features, pictures

from deepcluster.evaluation.probe.knn_sweep import KnnSweep

TRAIN, TEST = pictures(120, 0), pictures(60, 1, name="test")


def test_features_vote_as_a_plain_twin_and_the_last_stage_by_other_numbers(tmp_path: Path) -> None:
    found = context(tmp_path, TRAIN, TEST)
    assert TRAIN.labels is not None and TEST.labels is not None
    arrays = features(found, TRAIN).numpy(), TRAIN.labels.numpy(), features(found, TEST).numpy()
    weighted = KnnSweep(k=[3, 20], layer="features").run(found)
    majority = KnnSweep(k=[3, 20], layer="features", vote="majority").run(found)
    for k in (3, 20):
        right = np.array(knn_predictions(*arrays, k, 0.07)) == TEST.labels.numpy()
        assert weighted[f"knn_accuracy_k{k}"] == pytest.approx(right.mean())
        right = np.array(majority_predictions(*arrays, k)) == TEST.labels.numpy()
        assert majority[f"knn_majority_accuracy_k{k}"] == pytest.approx(right.mean())
    assert weighted["n_train"] == 120 and weighted["n_test"] == 60


def test_the_last_stage_is_the_networks_last_maps(tmp_path: Path) -> None:
    found, ks = context(tmp_path, TRAIN, TEST), [1, 3, 10, 40, 90]
    assert TRAIN.labels is not None and TEST.labels is not None
    maps = []
    for images in (TRAIN, TEST):
        with torch.no_grad():
            normalised = (images.images.float() / 255 - 0.3) / 0.25
            maps.append(found.backbone.features(normalised).flatten(1).numpy())
    default = KnnSweep(k=ks, vote="majority").run(found)
    for k in ks:
        right = np.array(majority_predictions(maps[0], TRAIN.labels.numpy(), maps[1], k)) == TEST.labels.numpy()
        assert default[f"knn_majority_accuracy_k{k}"] == pytest.approx(right.mean())
    assert default != KnnSweep(k=ks, vote="majority", layer="features").run(found)


def test_unlabelled_images_neither_vote_nor_are_tested(tmp_path: Path) -> None:
    assert TRAIN.labels is not None
    half = dataclasses.replace(TRAIN, labels=torch.where(torch.arange(120) < 60, TRAIN.labels, -1))
    found = KnnSweep(k=[5]).run(context(tmp_path, half))
    assert (found["n_train"], found["n_test"]) == (48, 12)  # a fifth of the labelled ones is held out
    assert KnnSweep(k=[5], max_images=20).run(context(tmp_path, half, TEST))["n_train"] == 20


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"evaluation.k=121 needs .* there are 120; lower it"):
        KnnSweep(k=[1, 121]).run(context(tmp_path, TRAIN, TEST))
    with pytest.raises(ValueError, match="labelled training images of two classes are needed, there are 0 labelled"):
        KnnSweep().run(context(tmp_path, dataclasses.replace(TRAIN, labels=None), TEST))
    for wrong in ({"k": []}, {"k": [0]}, {"vote": "all"}, {"layer": "conv9"}, {"temperature": 0.0}, {"max_images": 50}):
        with pytest.raises(ValueError, match=rf"evaluation.{next(iter(wrong))}"):
            KnnSweep(**wrong)  # type: ignore[arg-type]
