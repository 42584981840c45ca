"""Patches: cut where asked, whitened as an eigen-decomposition says, and centroids that answer as filters."""

import numpy as np
import torch
from reference.coates import normalised, zca
from torch.nn.functional import conv2d

from deepcluster.models.patches import Whitening, cut, folded, normalise_contrast, scaled_like


def correlated(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """Patches whose directions vary by factors of up to a hundred, with a mean that is not 0."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.linalg.qr(torch.randn(d, d, generator=generator))[0] * torch.logspace(-1, 1, d)
    return torch.randn(n, d, generator=generator) @ mixing.T + 3.0


def test_a_patch_is_the_window_at_its_place():
    maps = torch.arange(2 * 3 * 7 * 8.0).view(2, 3, 7, 8)
    patches = cut(maps, torch.tensor([[1, 2, 5], [0, 0, 0], [1, 4, 4]]), 3)
    assert torch.equal(patches[0].view(3, 3, 3), maps[1, :, 2:5, 5:8])
    assert torch.equal(patches[1].view(3, 3, 3), maps[0, :, 0:3, 0:3])
    assert torch.equal(patches[2].view(3, 3, 3), maps[1, :, 4:7, 4:7])


def test_contrast_is_normalised_as_written_out():
    patches = 255 * torch.rand(5, 12, generator=torch.Generator().manual_seed(0))
    patches[3] = 77.0  # flat: no division by 0
    expected = np.array([normalised(patch, 10.0) for patch in patches.double().numpy()])
    np.testing.assert_allclose(normalise_contrast(patches, 10.0).numpy(), expected, atol=1e-5)


def test_whitening_is_the_eigen_decomposition_of_the_covariance():
    patches = correlated(20_000, 12)  # more than one block of rows
    whitening = Whitening.fit(patches, epsilon=0.1)
    mean, matrix = zca(patches.double().numpy(), 0.1)
    np.testing.assert_allclose(whitening.mean.numpy(), mean, atol=1e-5)
    np.testing.assert_allclose(whitening.matrix.numpy(), matrix, atol=1e-5)


def test_whitened_patches_have_unit_covariance_up_to_epsilon():
    patches = correlated(5000, 12)
    exact = Whitening.fit(patches, epsilon=1e-9).apply(patches).double()
    torch.testing.assert_close(exact.T @ exact / 5000, torch.eye(12).double(), atol=1e-3, rtol=0)
    epsilon = 0.5
    damped = Whitening.fit(patches, epsilon).apply(patches).double()
    variances = torch.linalg.eigvalsh(torch.cov(patches.double().T, correction=0))
    found = torch.linalg.eigvalsh(damped.T @ damped / 5000)
    torch.testing.assert_close(found, (variances / (variances + epsilon)), atol=1e-4, rtol=0)


def test_filters_answer_to_raw_patches_as_centroids_do_to_whitened_ones():
    patches, centroids = correlated(50, 27), torch.randn(4, 27, generator=torch.Generator().manual_seed(1))
    whitening = Whitening.fit(correlated(500, 27, seed=2), epsilon=0.1)
    own_means = patches.mean(dim=1, keepdim=True)

    wanted = whitening.apply(patches - own_means) @ centroids.T
    kernels = folded(centroids, whitening, centred=True).view(4, 3, 3, 3)
    answers = conv2d(patches.view(50, 3, 3, 3), kernels).flatten(1)
    difference = wanted - answers  # one constant for each filter
    torch.testing.assert_close(difference, difference[:1].expand(50, 4), atol=1e-3, rtol=0)
    assert float(kernels.flatten(1).sum(dim=1).abs().max()) < 1e-4

    wanted = whitening.apply(patches) @ centroids.T
    difference = wanted - patches @ folded(centroids, whitening, centred=False).T
    torch.testing.assert_close(difference, difference[:1].expand(50, 4), atol=1e-3, rtol=0)


def test_scaled_filters_answer_as_strongly_as_the_others_and_equally_among_themselves():
    generator = torch.Generator().manual_seed(3)
    patches = correlated(9000, 18)
    filters = torch.randn(7, 18, generator=generator) * torch.logspace(-3, 3, 7).unsqueeze(1)
    others = 0.2 * torch.randn(7, 18, generator=generator)
    scaled = scaled_like(filters, others, patches)
    answers = patches @ scaled.T
    torch.testing.assert_close(answers.std(), (patches @ others.T).std(), rtol=1e-4, atol=0)
    each = answers.std(dim=0)
    torch.testing.assert_close(each, each.mean().expand(7), rtol=1e-3, atol=0)
    cosine = torch.nn.functional.cosine_similarity(scaled, filters, dim=1)
    torch.testing.assert_close(cosine, torch.ones(7), atol=1e-5, rtol=0)
