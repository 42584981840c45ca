import torch

from deepcluster.clustering.pic_fit import merge_smallest


def test_the_smallest_clusters_join_their_nearest_and_the_rest_keep_their_order() -> None:
    # sizes 1, 3, 2, 1, 2; three are kept: the largest and, of the three with 2 and 2, both
    labels = torch.tensor([0, 1, 1, 1, 2, 2, 3, 4, 4])
    centroids = torch.tensor([[9.0], [0.0], [10.0], [4.0], [5.5]])
    merged, n_merged = merge_smallest(labels, centroids, 3)
    # 0 (at 9) is nearest to 2 (at 10), 3 (at 4) to 4 (at 5.5); 1, 2, 4 become 0, 1, 2
    assert merged.tolist() == [1, 0, 0, 0, 1, 1, 2, 2, 2]
    assert n_merged == 2


def test_of_equal_sizes_the_first_are_kept() -> None:
    merged, n_merged = merge_smallest(torch.tensor([3, 2, 1, 0]), torch.tensor([[0.0], [1.0], [2.0], [3.0]]), 2)
    assert merged.tolist() == [1, 1, 1, 0] and n_merged == 2


def test_where_there_is_room_nothing_changes() -> None:
    labels = torch.tensor([1, 0, 1])
    merged, n_merged = merge_smallest(labels, torch.zeros(2, 1), 2)
    assert torch.equal(merged, labels) and n_merged == 0
