"""Maps are grouped by what they share beyond correlation, as a plain twin finds it pair by pair."""

import itertools

import numpy as np
import pytest
import torch
from reference.coates import dependence as of_pair

from deepcluster.models import patches
from deepcluster.weights.receptive_fields import dependence, groups_of_maps

N = 4000
DRAW = np.random.default_rng(0)


def energies(n_groups: int, size: int) -> np.ndarray:
    """Answers (N, n_groups x size), uncorrelated, strong at the same places within a group: one scale for each."""
    scale = np.exp(DRAW.standard_normal((N, n_groups, 1)))
    return (scale * DRAW.standard_normal((N, n_groups, size))).reshape(N, -1)


def test_dependence_is_the_twins_for_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepcluster.weights.receptive_fields.ROWS", 1500)
    monkeypatch.setattr(patches, "ROWS", 1500)
    answers = energies(3, 2) + DRAW.gamma(2.0, size=(N, 1)) * np.arange(6) + 7  # correlated, skew, far from 0
    found = dependence(torch.from_numpy(answers).float())
    for i, j in itertools.permutations(range(6), 2):
        assert float(found[i, j]) == pytest.approx(of_pair(answers[:, i], answers[:, j]), abs=1e-4)


def test_shifts_and_scales_of_maps_change_nothing_and_correlation_alone_is_no_dependence() -> None:
    plain = torch.from_numpy(DRAW.standard_normal((N, 3)))
    mixed = plain @ torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 1.0]]).double()
    found = dependence(mixed)
    assert float((found - torch.eye(3)).abs().max()) < 0.06  # 1 / sqrt(N) is .016
    torch.testing.assert_close(dependence(mixed * torch.tensor([3.0, 0.01, 100.0]) - 5), found, atol=1e-6, rtol=0)


def test_known_groups_are_found() -> None:
    answers = energies(4, 5)
    order = DRAW.permutation(20)
    groups = groups_of_maps(dependence(torch.from_numpy(answers[:, order])), 20, 5, seed=1)
    assert sorted(groups[:, 0].tolist()) == list(range(20))  # each map was drawn once
    assert all(len(set(order[group.numpy()] // 5)) == 1 for group in groups)
    assert torch.equal(groups, groups_of_maps(dependence(torch.from_numpy(answers[:, order])), 20, 5, seed=1))


def test_a_copy_depends_wholly_and_a_map_that_never_varies_on_none() -> None:
    x = torch.from_numpy(energies(1, 1))
    found = dependence(torch.cat([x, 2 * x + 1, torch.full_like(x, 3.0), torch.from_numpy(energies(1, 1))], dim=1))
    assert float(found[0, 1]) == pytest.approx(1, abs=1e-3)
    assert found[2].tolist() == found[:, 2].tolist() == [0.0] * 4
    groups = groups_of_maps(found, 4, 2, seed=1)
    assert {tuple(group.tolist()) for group in groups} >= {(0, 1), (1, 0)}
