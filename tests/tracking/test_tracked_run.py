"""What is remembered of a tracker, and the histogram of sizes."""

import json
from pathlib import Path

import pytest
import torch

from deepcluster.system.nested import flat
from deepcluster.tracking.tracked_run import LOGGED_FILE, read_logged, update_logged
from deepcluster.tracking.tracker import size_histogram


def test_each_logger_remembers_its_own(tmp_path: Path) -> None:
    assert read_logged(tmp_path, "wandb") == {}
    update_logged(tmp_path, "wandb", id="a", step=1)
    update_logged(tmp_path, "mlflow", id="b")
    update_logged(tmp_path, "wandb", step=4)
    assert read_logged(tmp_path, "wandb") == {"id": "a", "step": 4} and read_logged(tmp_path, "mlflow") == {"id": "b"}
    assert json.loads((tmp_path / LOGGED_FILE).read_text()).keys() == {"wandb", "mlflow"}


def test_a_histogram_by_hand() -> None:
    """Nine clusters: at most 6 bins; sizes 1 to 10, so each bin takes in two sizes."""
    counts, edges = size_histogram(torch.tensor([1, 2, 2, 3, 5, 6, 9, 10, 10]))
    assert counts == [3, 1, 2, 0, 3] and edges == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5]


@pytest.mark.parametrize("sizes", [[7], [7, 7, 7], [1, 1_000_000], list(range(1, 3000)), [0, 5, 5, 400]])
def test_every_cluster_is_in_one_bin(sizes: list[int]) -> None:
    counts, edges = size_histogram(torch.tensor(sizes))
    assert sum(counts) == len(sizes) and len(edges) == len(counts) + 1 <= 51
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        assert count == sum(low < size < high for size in sizes)


def test_a_config_without_groups() -> None:
    nested = {"a": 1, "b": {"c": None, "d": {"e": [1, 2]}}, "f": {}}
    assert flat(nested) == {"a": 1, "b.c": None, "b.d.e": [1, 2], "f": {}}
