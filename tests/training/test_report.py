from deepcluster.training.report import epoch_line


def test_merged_clusters_are_told_where_there_are_any() -> None:
    numbers = {"cluster/clusters_used": 7.0, "cluster/n_merged": 0.0, "time/clustering_s": 1.26}
    assert epoch_line(0, 3, numbers) == "epoch   1/3  | clusters 7  NMI last -  clustering 1.3 s"
    assert epoch_line(0, 3, {**numbers, "cluster/n_merged": 12.0}).split("  ")[2:4] == ["| clusters 7", "merged 12"]
