"""Morlet wavelets against their definition, and which of them a bank has."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from deepcluster.models.wavelets import FREQUENCY, SIGMA, SLANT, Bank, low_pass, morlet, most_scales

ANGLES = [math.pi * number / 8 for number in range(8)]


def answer(kernel: Tensor, x: float, y: float) -> complex:
    """The sum of a kernel times a wave of x radians per pixel rightwards and y downwards, its phase 0 at the centre."""
    size = len(kernel)
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    phase = x * place + y * place.unsqueeze(1)
    return complex((kernel * torch.polar(torch.ones_like(phase), phase)).sum())


@pytest.mark.parametrize("size", [3, 4, 5, 7, 11])
@pytest.mark.parametrize("angle", ANGLES)
def test_a_wavelet_sums_to_zero_in_any_kernel(size: int, angle: float) -> None:
    for scale in range(most_scales(size)):
        wavelet = morlet(size, scale=scale, angle=angle)
        assert abs(wavelet.sum()) < 1e-14 and wavelet.abs().max() > 1e-3


def test_a_wide_kernel_holds_the_wavelet_of_the_plane() -> None:
    # There beta is known: exp(-(sigma xi)^2 / 2), the share of the wave that the Gaussian's own mean is.
    size, scale, angle = 101, 2, 0.7
    sigma, xi = SIGMA * 4, FREQUENCY / 4
    beta = math.exp(-((sigma * xi) ** 2) / 2)
    wavelet = morlet(size, scale=scale, angle=angle)
    for row, column in [(50, 50), (49, 53), (56, 47), (44, 44)]:
        x, y = column - 50, row - 50
        along, across = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
        envelope = math.exp(-(along**2 + (SLANT * across) ** 2) / (2 * sigma**2)) * SLANT / (2 * math.pi * sigma**2)
        told = envelope * (complex(math.cos(xi * along), math.sin(xi * along)) - beta)
        assert complex(wavelet[row, column]) == pytest.approx(told, abs=1e-7)


@pytest.mark.parametrize("angle", ANGLES)
def test_each_scale_halves_the_frequency(angle: float) -> None:
    one, two = (morlet(61, scale=scale, angle=angle) for scale in (1, 2))
    for share in (0.25, 0.5, 1.0, 1.5):
        x, y = (share * FREQUENCY / 4 * turn for turn in (math.cos(angle), math.sin(angle)))
        assert abs(answer(two, -x, -y)) == pytest.approx(abs(answer(one, -2 * x, -2 * y)), abs=1e-4)
        assert abs(answer(two, x, y)) < abs(answer(two, -x, -y))  # a wave and not its mirror image


@pytest.mark.parametrize("size", [3, 5, 7, 11])
def test_a_grating_is_answered_most_by_the_wavelet_of_its_orientation(size: int) -> None:
    for scale in range(most_scales(size)):
        wavelets = [morlet(size, scale=scale, angle=angle) for angle in ANGLES]
        for number, angle in enumerate(ANGLES):
            x, y = (FREQUENCY / 2**scale * turn for turn in (math.cos(angle), math.sin(angle)))
            answers = [abs(answer(wavelet, -x, -y)) + abs(answer(wavelet, x, y)) for wavelet in wavelets]
            assert int(np.argmax(answers)) == number


def test_low_pass_and_wavelets_leave_no_frequency_unseen_and_raise_none() -> None:
    # Littlewood and Paley's sum, over a wave and its mirror image, of the whole bank (Bruna and Mallat 2013, 2.2)
    n_scales, size = 3, 81
    bank = [morlet(size, scale=scale, angle=angle) for scale in range(n_scales) for angle in ANGLES]
    smooth = low_pass(size, n_scales=n_scales)
    sums = []
    for angle in (0.0, 0.1, 0.3, 0.6, 1.0):
        for radius in torch.linspace(0, FREQUENCY, 12).tolist():
            x, y = radius * math.cos(angle), radius * math.sin(angle)
            both = [abs(answer(wavelet, *wave)) ** 2 for wavelet in bank for wave in ((x, y), (-x, -y))]
            sums.append(abs(answer(smooth, x, y)) ** 2 + sum(both) / 2)
    assert min(sums) > 0.2 and max(sums) < 1.1


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
@pytest.mark.parametrize("scale", [0, 1, 2])
def test_kymatio_has_the_same_filters(angle: float, scale: int) -> None:
    kymatio = pytest.importorskip("kymatio.scattering2d.filter_bank")
    # its first axis is x, and its centre at index 0
    theirs = kymatio.morlet_2d(65, 65, SIGMA * 2**scale, angle, FREQUENCY / 2**scale, SLANT).T
    np.testing.assert_allclose(np.roll(theirs, 32, axis=(0, 1)), morlet(65, scale=scale, angle=angle), atol=2e-5)
    theirs = kymatio.gabor_2d(65, 65, SIGMA * 2**scale, 0, 0)
    np.testing.assert_allclose(np.roll(theirs, 32, axis=(0, 1)), low_pass(65, n_scales=scale + 1), atol=2e-5)


@pytest.mark.parametrize(
    ("size", "scales"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (7, 2), (9, 2), (10, 3), (11, 3), (20, 4)]
)
def test_a_kernel_holds_the_scales_whose_envelope_it_reaches(size: int, scales: int) -> None:
    assert most_scales(size) == scales


@pytest.mark.parametrize(
    ("n", "size", "given", "shares"),
    [
        (5, 5, {}, (3, 1, 2)),  # LeNet5: three orientations rather than two scales
        (23, 5, {}, (6, 2, 2)),
        (61, 7, {}, (8, 2, 4)),  # ResNet
        (94, 11, {}, (8, 3, 4)),  # AlexNet
        (45, 3, {}, (8, 1, 6)),
        (61, 7, {"most_orientations": 16}, (16, 2, 2)),
        (61, 7, {"n_scales": 1}, (8, 1, 8)),
    ],
)
def test_filters_are_shared_out(n: int, size: int, given: dict[str, int], shares: tuple[int, int, int]) -> None:
    bank = Bank.of(n, size, **{"most_orientations": 8, "n_scales": None, **given})
    assert (bank.n_orientations, bank.n_scales, bank.n_phases) == shares
    filters, angles = bank.wavelets(size)
    assert filters.shape == (n, size, size) and angles.shape == (n,)
    rows = torch.nn.functional.normalize(filters.flatten(1), dim=1)
    assert (rows @ rows.T - 2 * torch.eye(n)).max() < 0.99  # no filter is there twice


def test_phases_are_real_and_imaginary_part_their_negatives_and_then_between() -> None:
    filters, _ = Bank(n=6, n_orientations=1, n_scales=1, n_phases=6).wavelets(5)
    wavelet = morlet(5, scale=0, angle=0.0)
    between = (wavelet.real + wavelet.imag) / math.sqrt(2)
    told = [wavelet.real, wavelet.imag, -wavelet.real, -wavelet.imag, between]
    torch.testing.assert_close(filters[:5], torch.stack(told))
