"""The linear probe: against a plain twin, against scikit-learn, and that the test set is only tested on."""

import pytest
import torch
from reference.softmax_regression import train_softmax_regression
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.evaluation.probe.softmax_regression import SoftmaxRegressions


def blobs(n: int, spread: float, seed: int, n_classes: int = 3, dim: int = 6) -> tuple[Tensor, Tensor]:
    """Images of n_classes classes around corners of a cube, `spread` wide."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % n_classes
    centres = 2.0 * torch.eye(n_classes, dim)
    return centres[labels] + spread * torch.randn(n, dim, generator=generator), labels


def test_separable_classes_are_told_apart():
    train, test = blobs(300, 0.2, seed=0), blobs(300, 0.2, seed=1)
    result = fit_probe(*train, *test, LinearProbe(), seed=0)
    assert result.accuracy == 1.0
    assert len(result.held_out_accuracies) == 5 and max(result.held_out_accuracies) == 1.0


def test_poisoned_test_labels_change_the_accuracy_but_not_the_choice():
    train_x, train_y = blobs(400, 1.0, seed=0)
    test_x, test_y = blobs(400, 1.0, seed=1)
    settings = LinearProbe(epochs=4, learning_rates=[1e-5, 0.01, 0.03, 0.1])
    honest = fit_probe(train_x, train_y, test_x, test_y, settings, seed=0)
    poisoned = fit_probe(train_x, train_y, test_x, (test_y + 1) % 3, settings, seed=0)
    assert poisoned.learning_rate == honest.learning_rate
    assert poisoned.held_out_accuracies == honest.held_out_accuracies
    assert honest.accuracy > 0.7 and poisoned.accuracy < 0.3


def test_the_best_held_out_rate_is_chosen_whatever_the_order():
    train, test = blobs(400, 1.0, seed=0), blobs(200, 1.0, seed=1)
    rates = [1e-6, 0.02, 30.0]
    result = fit_probe(*train, *test, LinearProbe(epochs=3, learning_rates=rates), seed=5)
    mirrored = fit_probe(*train, *test, LinearProbe(epochs=3, learning_rates=rates[::-1]), seed=5)
    assert result.held_out_accuracies == mirrored.held_out_accuracies[::-1]
    assert result.learning_rate == mirrored.learning_rate
    assert result.learning_rate == rates[result.held_out_accuracies.index(max(result.held_out_accuracies))]


def test_all_rates_at_once_train_as_a_plain_twin_one_by_one():
    x, y = blobs(150, 1.0, seed=2)
    settings = LinearProbe(epochs=3, batch_size=32, weight_decay=0.01)
    rates = [0.01, 0.1]
    rows = torch.arange(20, 150)
    lines = SoftmaxRegressions(x, y, rows, 3, rates, settings, torch.Generator().manual_seed(4))

    part = x[rows].double()
    standardised = ((x.double() - part.mean(0)) / part.std(0, unbiased=False)).float()
    generator = torch.Generator().manual_seed(4)
    batches = [
        batch for _ in range(3) for batch in torch.split(rows[torch.randperm(len(rows), generator=generator)], 32)
    ]
    for number, rate in enumerate(rates):
        twin = train_softmax_regression(standardised, y, batches, 3, lr=rate, weight_decay=0.01)
        columns = slice(3 * number, 3 * number + 3)
        torch.testing.assert_close(lines.weight[:, columns], twin.weight.T, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(lines.bias[columns], twin.bias, atol=1e-5, rtol=1e-4)


def test_a_long_probe_finds_the_line_of_scikit_learns_logistic_regression():
    train_x, train_y = blobs(300, 1.2, seed=0)
    test_x, test_y = blobs(1000, 1.2, seed=1)
    decay = 0.01
    settings = LinearProbe(epochs=200, batch_size=100, learning_rates=[0.1], weight_decay=decay)
    ours = fit_probe(train_x, train_y, test_x, test_y, settings, seed=0)
    mean, std = train_x.mean(0), train_x.std(0, unbiased=False)
    theirs = LogisticRegression(C=1 / (decay * len(train_x)), tol=1e-8, max_iter=1000)
    theirs.fit(((train_x - mean) / std).numpy(), train_y.numpy())
    score = theirs.score(((test_x - mean) / std).numpy(), test_y.numpy())
    assert abs(ours.accuracy - score) <= 0.003 and 0.6 < score < 0.95
    everything = torch.arange(300)
    line = SoftmaxRegressions(train_x, train_y, everything, 3, [0.1], settings, torch.Generator().manual_seed(0))
    difference = line.weight - torch.from_numpy(theirs.coef_).T  # both sum to 0 over classes: one optimum
    assert float(difference.norm() / line.weight.norm()) < 0.02


def test_scale_shift_and_dead_features_do_not_matter():
    (train_x, train_y), (test_x, test_y) = blobs(300, 1.0, seed=0), blobs(300, 1.0, seed=1)
    settings = LinearProbe(epochs=5)
    plain = fit_probe(train_x, train_y, test_x, test_y, settings, seed=0)
    scale = torch.logspace(-2, 2, 6)
    dead_train, dead_test = torch.full((300, 1), 7.0), torch.full((300, 1), 8.0)
    scaled = fit_probe(
        torch.cat([train_x * scale + 3, dead_train], 1),
        train_y,
        torch.cat([test_x * scale + 3, dead_test], 1),
        test_y,
        settings,
        seed=0,
    )
    assert abs(scaled.accuracy - plain.accuracy) <= 1 / 300
    assert scaled.learning_rate == plain.learning_rate


def test_a_feature_is_dead_by_its_share_of_the_liveliest():
    x, y = blobs(300, 1.0, seed=0)
    faint = 1e-8 * torch.randn(300, 1, generator=torch.Generator().manual_seed(1))
    for scale in (1.0, 1e-9):  # what is small is not dead if all are small
        probe = LinearProbe(epochs=2, learning_rates=[0.05])
        result = fit_probe(scale * torch.cat([x, faint], 1), y, scale * torch.cat([x, faint], 1), y, probe, seed=0)
        assert bool((result.weight[:, 6] == 0).all()) and bool((result.weight[:, :6] != 0).all())
        assert result.accuracy > 0.6


def test_rates_are_compared_on_the_held_out_share_and_the_best_is_trained_on_all():
    x, y = torch.eye(40), torch.arange(40) % 3  # each image is the only one with its feature
    result = fit_probe(x, y, x, y, LinearProbe(epochs=2), seed=0)
    assert bool((result.weight != 0).any(0).all())  # none was left out of the last training
    noise = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    shares = fit_probe(noise, y, noise, y, LinearProbe(epochs=2, held_out=0.1), seed=0).held_out_accuracies
    assert all((4 * share).is_integer() for share in shares) and 0 < max(shares) < 1  # of 4 images


def test_the_seed_alone_decides():
    train, test = blobs(200, 1.0, seed=0), blobs(200, 1.0, seed=1)
    first = fit_probe(*train, *test, LinearProbe(epochs=2), seed=3)
    torch.manual_seed(123)
    assert fit_probe(*train, *test, LinearProbe(epochs=2), seed=3) == first


def test_the_trained_line_reads_features_as_they_are():
    (train_x, train_y), (test_x, test_y) = blobs(300, 1.0, seed=0), blobs(500, 1.0, seed=1)
    shift, scale = torch.tensor([5.0, 0, -3, 100, 0, 1]), torch.tensor([1.0, 0.01, 30, 1, 0, 1])  # the fifth is dead
    train_x, test_x = train_x * scale + shift, test_x * scale + shift
    for features in (torch.float32, torch.float16):
        result = fit_probe(train_x.to(features), train_y, test_x.to(features), test_y, LinearProbe(epochs=3), seed=0)
        assert result.weight.shape == (3, 6) and result.bias.shape == (3,)
        answers = (test_x.to(features).float() @ result.weight.T + result.bias).argmax(1)
        assert float((answers == test_y).float().mean()) == pytest.approx(result.accuracy, abs=1e-6)


def test_one_rate_needs_no_choice():
    train, test = blobs(100, 0.2, seed=0), blobs(100, 0.2, seed=1)
    result = fit_probe(*train, *test, LinearProbe(learning_rates=[0.05]), seed=0)
    assert result.learning_rate == 0.05 and result.held_out_accuracies == []


def test_unlabelled_images_are_refused():
    x, y = blobs(20, 1.0, seed=0)
    y[3] = -1
    with pytest.raises(ValueError, match="1 training images have no label"):
        fit_probe(x, y, x, y.abs(), LinearProbe(), seed=0)
    with pytest.raises(ValueError, match=r"test features .* do not fit together"):
        fit_probe(x, y.abs(), x, y[:5], LinearProbe(), seed=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rates": []},
        {"learning_rates": [0.0]},
        {"weight_decay": -1.0},
        {"held_out": 1.0},
    ],
)
def test_wrong_settings_are_refused_with_their_key(wrong):
    with pytest.raises(ValueError, match=rf"evaluation.linear_probe.{next(iter(wrong))}"):
        LinearProbe(**wrong)
