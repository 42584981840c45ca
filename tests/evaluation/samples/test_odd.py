import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.textures import seen, textures

from deepcluster.evaluation.samples.limit import upper_limit
from deepcluster.evaluation.samples.odd import Usual, odd_scores, write_odd
from deepcluster.evaluation.samples.sample_files import STATISTICS, read_usual
from deepcluster.evaluation.samples.statistics import N, picture_statistics
from deepcluster.system.seeding import generator


def of_grey(pictures: torch.Tensor) -> torch.Tensor:
    grey = pictures.float()
    return picture_statistics(grey[:, None].expand(-1, 3, -1, -1), grey)


def test_statistics_of_flat_and_striped_pictures_by_hand() -> None:
    flat = torch.full((1, 64, 64), 51)
    stripes = (torch.arange(64) % 2 * 255).expand(1, 64, 64)  # along y: they change across only
    numbers = of_grey(torch.cat([flat, stripes]))
    assert numbers.shape == (2, N)
    assert numbers[0, :3].tolist() == pytest.approx([0.2] * 3) and numbers[1, :3].tolist() == pytest.approx([0.5] * 3)
    assert numbers[0, 3:8].abs().max() < 1e-6  # no deviation, no saturation
    octaves = numbers[:, 8:24].view(2, 4, 4)
    assert octaves[0].abs().max() < 1e-6
    assert float(octaves[1, 0, 0].expm1()) == pytest.approx(127.5**2, rel=1e-3)  # all energy in the finest octave
    assert float(octaves[1, 0, 3].expm1()) == pytest.approx(255**2, rel=1e-3)  # across, none along
    assert octaves[1, 1:].abs().max() < 1e-3
    assert numbers[0, 24:31].tolist() == pytest.approx([0.2] * 7)
    assert numbers[0, 31:40].abs().max() < 1e-3  # no power in any band
    assert int(numbers[1, 31:40].argmax()) == 8, "stripes of two pixels: 32 waves"
    assert numbers[0, 40:].tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)  # one level
    assert numbers[1, 40:].tolist() == pytest.approx([math.log(2), 0.5, math.log(0.5)])  # two, equally often
    red = torch.zeros(1, 3, 64, 64)
    red[:, 0] = 255.0
    assert picture_statistics(red, red.mean(1))[0, 6] == pytest.approx(1.0, abs=2e-3)  # saturation


def test_pictures_of_another_kind_are_the_oddest_however_they_are_ordered() -> None:
    usual = seen(textures(150, seed=5))
    noise = torch.randint(0, 256, (6, 64, 64), generator=generator("noise")).byte()
    numbers = of_grey(torch.cat([usual, noise]))
    scores = odd_scores(numbers)
    assert set(scores.argsort(descending=True)[:6].tolist()) == set(range(150, 156))
    assert float(scores.median()) == pytest.approx(1.0, abs=0.2)
    order = torch.randperm(156, generator=generator("order"))
    assert torch.allclose(odd_scores(numbers[order]), scores[order], rtol=1e-3)


def test_others_are_compared_with_the_usual_ones() -> None:
    """Pictures of the same kind fit, a picture among them has nearly its own score, and noise does not fit."""
    numbers = of_grey(seen(textures(220, seed=5)))
    usual = Usual.of(numbers[:150])
    assert torch.equal(usual.scores, odd_scores(numbers[:150]))
    again = usual.scores_of(numbers[:150])  # each is its own first neighbour
    assert float((again / usual.scores - 1).abs().max()) < 0.2
    noise = torch.randint(0, 256, (6, 64, 64), generator=generator("noise")).byte()
    assert not bool(usual.fits(of_grey(noise)).any())
    assert float(usual.fits(numbers[150:]).float().mean()) > 0.85
    in_blocks = torch.cat([usual.scores_of(numbers[i : i + 1]) for i in range(150, 160)])
    assert torch.allclose(in_blocks, usual.scores_of(numbers[150:160]), rtol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_or_equal_pictures_have_finite_scores(n: int) -> None:
    for pictures in (seen(textures(5, seed=6))[:n], torch.zeros(n, 64, 64)):
        assert bool(torch.isfinite(odd_scores(of_grey(pictures))).all())


def test_statistics_of_an_older_run_are_none(tmp_path: Path) -> None:
    """They were fewer: new pictures cannot be compared with them."""
    numbers = of_grey(seen(textures(12, seed=5))).numpy()
    for columns, is_known in ((N, True), (31, False)):
        np.save(tmp_path / STATISTICS, numbers[:, :columns])
        assert (read_usual(tmp_path) is not None) == is_known


def test_odd_csv_begins_with_the_oddest(tmp_path: Path) -> None:
    write_odd(tmp_path / "odd.csv", ["a", "b", "c"], torch.tensor([1.0, 2.5, 1.0]))
    with (tmp_path / "odd.csv").open(newline="") as file:
        rows = [[*row.values()] for row in csv.DictReader(file)]
    assert rows == [["b", "2.5000", "1", "true"], ["a", "1.0000", "2", "false"], ["c", "1.0000", "3", "false"]]


def test_the_limit_is_three_deviations_above_the_median_of_the_logarithms() -> None:
    """Drawn from a known distribution; one picture in ten of another kind moves it little."""
    logs = 0.1 + 0.2 * torch.randn(20_000, generator=generator("scores"))
    assert upper_limit(logs.exp()) == pytest.approx(math.exp(0.1 + 3 * 0.2), rel=0.02)
    with_odd = torch.cat([logs, torch.full((2_000,), 3.0)]).exp()
    assert upper_limit(with_odd) == pytest.approx(math.exp(0.1 + 3 * 0.2), rel=0.1)
    assert upper_limit(torch.ones(9)) == 1.0


def test_the_limit_does_without_torchs_quantile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch 2.5 refuses more than 2**24 values. Logarithms spread evenly over 0 to 1 have the quartile 1/4."""
    monkeypatch.setattr(torch.Tensor, "quantile", lambda *_: pytest.fail("quantile() input tensor is too large"))
    values = torch.linspace(0, 1, 100_001, dtype=torch.float64).exp()
    assert upper_limit(values) == pytest.approx(math.exp(1 / 2 + 3 * (1 / 4) / 0.6744898), rel=1e-6)


def test_the_limit_takes_torchs_lower_quartile() -> None:
    for n in range(1, 40):
        logs = torch.randn(n, generator=generator("quartile", n), dtype=torch.float64)
        quartile, median = float(logs.exp().log().quantile(0.25)), float(logs.median())
        assert upper_limit(logs.exp()) == pytest.approx(math.exp(median + 3 * (median - quartile) / 0.6744897501960817))
