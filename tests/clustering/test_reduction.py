import faiss
import numpy as np
import pytest
import torch
from reference.clustering import pca_whiten_l2
from torch import Tensor

from deepcluster.clustering.moments import Moments
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.reduction import Reduction
from deepcluster.system.processor import float32_products, keeps_float32


def correlated(n: int = 3000, dim: int = 48, mean: float = 2.0) -> Tensor:
    """Features with a decaying spectrum in a random basis, about a mean."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    scales = torch.logspace(0, -2, dim)
    return (torch.randn(n, dim, generator=generator) * scales) @ basis.T + mean


def fitted(features: Tensor, batch: int = 700, **settings: object) -> FittedReduction:
    reduction = Reduction(**settings)  # type: ignore[arg-type]  # settings of several types
    moments = Moments(features.shape[1])
    for start in range(0, len(features), batch):
        moments.update(features[start : start + batch])
    return reduction.fit(moments)


def test_whitened_features_have_unit_covariance() -> None:
    features = correlated()
    reduced = fitted(features, dim=16, l2=False).apply(features)
    torch.testing.assert_close(reduced.mean(dim=0), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cov(reduced.T), torch.eye(16), atol=1e-4, rtol=0)


def test_without_whitening_the_variances_are_the_largest_eigenvalues() -> None:
    features = correlated()
    reduced = fitted(features, dim=5, whiten=False, l2=False).apply(features)
    largest = torch.linalg.eigvalsh(torch.cov(features.double().T)).flip(0)[:5].float()
    torch.testing.assert_close(torch.cov(reduced.T), torch.diag(largest), atol=1e-5, rtol=1e-4)


def test_reduced_features_equal_the_plain_twin() -> None:
    features = correlated()
    reduced = fitted(features, dim=32).apply(features).double().numpy()
    expected = pca_whiten_l2(features.double().numpy(), 32)
    signs = np.sign((reduced * expected).sum(axis=0))
    np.testing.assert_allclose(reduced, expected * signs, atol=2e-4)


def test_reduced_features_equal_those_of_the_2018_code() -> None:
    features = correlated()
    pca = faiss.PCAMatrix(48, 16, -0.5)
    pca.train(features.numpy())
    expected = torch.from_numpy(pca.apply_py(features.numpy()))
    expected = expected / expected.norm(dim=1, keepdim=True)
    reduced = fitted(features, dim=16, epsilon=0.0).apply(features)
    torch.testing.assert_close(reduced @ reduced.T, expected @ expected.T, atol=2e-3, rtol=0)


def test_with_fewer_features_than_dimensions_all_are_kept_where_that_is_asked_for() -> None:
    features = correlated()
    official = Reduction(dim=256, dim_at_most=True, epsilon=0.0)
    assert official.output_dim(48) == 48 and official.output_dim(4096) == 256
    reduced = fitted(features, dim=256, dim_at_most=True, epsilon=0.0).apply(features)
    assert torch.equal(reduced, fitted(features, dim=48, epsilon=0.0).apply(features))
    with pytest.raises(ValueError, match=r"reduction.dim=256 needs at least 48 images, there are 47"):
        official.check(47, 48)


def test_a_mean_far_from_zero_does_not_swallow_the_variance() -> None:
    features = correlated(mean=0.0)
    near = fitted(features, dim=16).apply(features)
    far = fitted(features + 100, dim=16).apply(features + 100)
    torch.testing.assert_close(near @ near.T, far @ far.T, atol=2e-2, rtol=0)  # float32 holds 100.01 to 8e-6


def test_the_result_does_not_depend_on_the_batch_size() -> None:
    features = correlated(n=5000)
    one, other = fitted(features, batch=5000, dim=8), fitted(features, batch=37, dim=8)
    assert one.projection is not None and other.projection is not None
    assert torch.equal(one.projection, other.projection)
    assert torch.equal(one.mean, other.mean)


def test_sums_of_two_processes_are_the_moments_of_all() -> None:
    features = correlated()
    whole, parts = Moments(48), [Moments(48), Moments(48), Moments(48)]
    whole.update(features)
    parts[0].update(features[:900])
    parts[1].update(features[900:])  # the third process has no images
    sums = [torch.stack(tensors).sum(dim=0) for tensors in zip(*(part.as_sums() for part in parts), strict=True)]
    merged = Moments.from_sums(sums)
    assert merged.n == 3000
    for one, other in zip(merged.mean_and_covariance(), whole.mean_and_covariance(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_neither_the_runs_precision_nor_autocast_changes_the_moments() -> None:
    """On a CPU with AMX, and on GPUs, 'medium' multiplies in bfloat16."""
    features = correlated()
    exact = torch.cov(features.double().T)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            moments = Moments(48)
            moments.update(features)
            covariance = moments.mean_and_covariance()[1]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (covariance - exact).norm() / exact.norm() < 1e-6


def test_autocast_does_not_round_reduced_features() -> None:
    features = correlated()
    reduction = fitted(features, dim=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = reduction.apply(features)
    assert inside.dtype == torch.float32 and torch.equal(inside, reduction.apply(features))


def test_only_processors_that_round_nothing_take_the_fast_products() -> None:
    assert keeps_float32("AuthenticAMD", frozenset({"avx512f", "avx512_bf16"}))
    assert not keeps_float32("GenuineIntel", frozenset({"avx512f", "amx_bf16"}))
    assert not keeps_float32("AuthenticAMD", frozenset({"avx512f", "amx_bf16"}))
    assert not keeps_float32("", frozenset())


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch < 2.9 has one setting for all")
def test_a_precision_set_for_one_backend_is_lifted_and_comes_back() -> None:
    mkldnn = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # there, but not in torch's stubs
    mkldnn.fp32_precision = "bf16"  # from now on torch refuses to tell its precision the old way
    try:
        with float32_products(torch.device("cpu")):
            assert mkldnn.fp32_precision == "ieee"
        assert mkldnn.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_precision_comes_back_after_an_error() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(KeyError), float32_products(torch.device("cpu")):
            raise KeyError
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_signs_are_fixed() -> None:
    projection = fitted(correlated(), dim=10).projection
    assert projection is not None
    largest = projection.gather(0, projection.abs().argmax(dim=0, keepdim=True))
    assert bool((largest > 0).all())


def test_explained_variance_is_the_kept_share() -> None:
    # variances 8, 2, 0 along the axes: keeping one of them keeps 8 / 10
    features = torch.tensor([[2.0, 1, 0], [2, -1, 0], [-2, 1, 0], [-2, -1, 0]])
    assert fitted(features, dim=1).explained_variance == pytest.approx(0.8)
    assert fitted(features, dim=2).explained_variance == pytest.approx(1.0)


def test_a_small_variance_is_divided_by_the_floor_relative_to_the_largest() -> None:
    # variances 400 / 3 and 4 / 3; the floor is 0.04 x 400 / 3 = 16 / 3, of which 4 / 3 is a quarter
    features = torch.tensor([[10.0, 1], [10, -1], [-10, 1], [-10, -1]])
    reduced = fitted(features, dim=2, l2=False, epsilon=0.04).apply(features)
    torch.testing.assert_close(torch.cov(reduced.T), torch.diag(torch.tensor([1.0, 0.25])))


def test_a_dead_direction_stays_zero() -> None:
    features = torch.tensor([[2.0, 1, 0], [2, -1, 0], [-2, 1, 0], [-2, -1, 0]])
    reduced = fitted(features, dim=3, l2=False).apply(features)
    assert torch.equal(reduced[:, 2], torch.zeros(4))
    torch.testing.assert_close(torch.cov(reduced[:, :2].T), torch.eye(2))


def test_a_dead_direction_without_a_floor_is_refused() -> None:
    features = torch.tensor([[2.0, 1, 0], [2, -1, 0], [-2, 1, 0], [-2, -1, 0]])
    with pytest.raises(ValueError, match="cannot whiten 1 of 3 directions"):
        fitted(features, dim=3, epsilon=0.0)


def test_images_that_are_all_alike_become_zeros_and_not_nan() -> None:
    features = torch.ones(20, 4)
    assert torch.equal(fitted(features, dim=2).apply(features), torch.zeros(20, 2))
    with pytest.raises(ValueError, match="cannot whiten 2 of 2 directions"):  # 2018: every feature NaN
        fitted(features, dim=2, epsilon=0.0)


def test_the_image_at_the_mean_stays_zero_under_l2() -> None:
    features = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])
    reduced = fitted(features, dim=2).apply(features)
    assert torch.equal(reduced[4], torch.zeros(2))
    torch.testing.assert_close(reduced[:4].norm(dim=1), torch.ones(4))


def test_without_pca_features_only_get_unit_length() -> None:
    reduction = Reduction(dim=None)
    assert not reduction.needs_fit and reduction.output_dim(2) == 2
    reduced = reduction.fit(Moments(2)).apply(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(reduced, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_with_their_row(bad: float) -> None:
    features = correlated(n=100)
    reduction, moments = fitted(features, dim=4), Moments(48)
    moments.update(features)
    features[7, 3] = features[9, 0] = bad
    with pytest.raises(ValueError, match="in 2 of 100 rows, the first in row 107"):
        moments.update(features)
    with pytest.raises(ValueError, match="in 2 of 100 rows, the first in row 7"):
        reduction.apply(features)


def test_checkpoints_keep_the_reduction(tmp_path: "object") -> None:
    features = correlated()
    before = fitted(features, dim=6)
    torch.save(before.state_dict(), f"{tmp_path}/reduction.pt")
    after = FittedReduction.from_state_dict(torch.load(f"{tmp_path}/reduction.pt", weights_only=True))
    assert torch.equal(before.apply(features), after.apply(features))
    assert after.explained_variance == before.explained_variance


def test_sizes_that_do_not_fit_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="dim=512 needs at least 512 images, there are 256; lower it, or"):
        Reduction(dim=512).check(256, 4096)
    with pytest.raises(ValueError, match=r"dim=256 is more than the 84 features .* .* reduction\.dim=null"):
        Reduction(dim=256).check(1000, 84)
    Reduction(dim=None).check(1, 1)
    with pytest.raises(ValueError, match="there are 100"):
        fitted(correlated(n=100, dim=200), dim=150)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "reduction.dim must be at least 1"),
        ({"epsilon": -1.0}, "reduction.epsilon must be in"),
        ({"dim": 64, "fit_images": 63}, "reduction.fit_images must be at least 64"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reduction(**settings)  # type: ignore[arg-type]  # settings of several types
