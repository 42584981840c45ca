"""A search goes by a number that can be measured."""

import pytest
import torch

from deepcluster.run.train import check_measured


@pytest.mark.parametrize("objective", ["knn_accuracy", "linear_probe_accuracy", "nmi_labels"])
@pytest.mark.parametrize("labels", [None, torch.tensor([-1, -1])])
def test_a_search_without_labels_is_told_the_objective_that_needs_none(objective, labels) -> None:
    with pytest.raises(ValueError, match=rf"objective={objective} needs labels.*objective=nmi_previous needs none"):
        check_measured(objective, labels)
    check_measured("nmi_previous", labels)
    check_measured(objective, torch.tensor([-1, 3]))
