"""Nearest neighbours: against a plain twin and by hand."""

import numpy as np
import pytest
import torch
from reference.nearest_neighbours import knn_predictions, majority_predictions
from sklearn.neighbors import KNeighborsClassifier

from deepcluster.evaluation.probe import knn
from deepcluster.evaluation.probe.knn import knn_accuracies, knn_accuracy
from deepcluster.evaluation.probe.recipes import Knn


def noisy(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (n,), generator=generator)
    return torch.eye(4, 5)[labels] + 0.7 * torch.randn(n, 5, generator=generator), labels


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (7, 0.07), (20, 1.0)])
def test_votes_are_those_of_a_plain_twin(k, temperature, monkeypatch):
    monkeypatch.setattr(knn, "MAX_SIMILARITIES", 120 * 7)  # blocks of 7 test images, the last one smaller
    (train_x, train_y), (test_x, test_y) = noisy(120, 0), noisy(60, 1)
    predictions = knn_predictions(train_x.numpy(), train_y.numpy(), test_x.numpy(), k, temperature)
    expected = float(np.mean(np.array(predictions) == test_y.numpy()))
    settings = Knn(k=k, temperature=temperature)
    assert knn_accuracy(train_x, train_y, test_x, test_y, settings) == pytest.approx(expected, abs=1e-12)
    assert 0.4 < expected < 0.95


def test_the_temperature_decides_between_the_nearest_and_the_many():
    # One neighbour of class 0 at cosine 1, two of class 1 at cosine 0.6: exp(1/T) against 2 exp(0.6/T).
    train_x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    train_y = torch.tensor([0, 1, 1])
    test_x, test_y = torch.tensor([[3.0, 0.0]]), torch.tensor([0])
    # equal where 0.4 / T = ln 2, T = 0.577
    assert knn_accuracy(train_x, train_y, test_x, test_y, Knn(k=3, temperature=0.55)) == 1.0
    assert knn_accuracy(train_x, train_y, test_x, test_y, Knn(k=3, temperature=0.60)) == 0.0
    # no overflow, after which the first class would win
    assert knn_accuracy(train_x, 1 - train_y, test_x, 1 - test_y, Knn(k=3, temperature=1e-4)) == 1.0


def test_length_of_features_does_not_matter():
    (train_x, train_y), (test_x, test_y) = noisy(120, 0), noisy(60, 1)
    plain = knn_accuracy(train_x, train_y, test_x, test_y, Knn())
    lengths = torch.linspace(0.01, 100, 120)[:, None]
    assert knn_accuracy(train_x * lengths, train_y, test_x * 50, test_y, Knn()) == plain


def test_impossible_requests_are_refused():
    x, y = noisy(10, 0)
    with pytest.raises(ValueError, match=r"evaluation.knn.k=20 needs .* there are 10; lower it"):
        knn_accuracy(x, y, x, y, Knn())
    with pytest.raises(ValueError, match="1 test images have no label"):
        knn_accuracy(x, y, x, torch.cat([y[:9], torch.tensor([-1])]), Knn(k=2))
    with pytest.raises(ValueError, match=r"evaluation.knn.k"):
        Knn(k=0)
    with pytest.raises(ValueError, match=r"evaluation.knn.temperature"):
        Knn(temperature=0.0)


@pytest.mark.parametrize("temperature", [0.5, None])
def test_one_pass_gives_every_k_what_a_plain_twin_gives_it_alone(temperature, monkeypatch):
    monkeypatch.setattr(knn, "MAX_SIMILARITIES", 120 * 7)
    (train_x, train_y), (test_x, test_y) = noisy(120, 0), noisy(60, 1)
    told = []
    found = knn_accuracies(
        train_x, train_y, test_x, test_y, [20, 1, 7, 60, 7], temperature=temperature, progress=told.append
    )
    assert list(found) == [1, 7, 20, 60] and sum(told) == 60 and max(told) == 7
    assert len(set(found.values())) > 1  # else the test could not tell them apart
    for k, accuracy in found.items():
        arrays = train_x.numpy(), train_y.numpy(), test_x.numpy()
        twin = majority_predictions(*arrays, k) if temperature is None else knn_predictions(*arrays, k, temperature)
        assert accuracy == pytest.approx(float(np.mean(np.array(twin) == test_y.numpy())), abs=1e-12), k
        if temperature is not None:  # to the last digit what the table of a run shows
            assert accuracy == knn_accuracy(train_x, train_y, test_x, test_y, Knn(k=k, temperature=temperature))


def test_the_majority_vote_is_scikit_learns():
    (train_x, train_y), (test_x, test_y) = noisy(120, 2), noisy(60, 3)
    found = knn_accuracies(train_x, train_y, test_x, test_y, [2, 4, 9], temperature=None)
    for k, accuracy in found.items():
        theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(train_x.numpy(), train_y.numpy())
        assert accuracy == pytest.approx(theirs.score(test_x.numpy(), test_y.numpy()), abs=1e-12)
