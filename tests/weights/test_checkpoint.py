"""Which stored clusters a run may go on from."""

import os
from pathlib import Path

import pytest
import torch
from support import tiny

from deepcluster.clustering.assignment import Assignment
from deepcluster.weights.checkpoint import (
    Checkpoint,
    check_same_clusters,
    check_same_network,
    load_checkpoint,
    read_torch_file,
)
from deepcluster.weights.files import find_checkpoint


def stored(k: int | None, capacity: int | None) -> Checkpoint:
    assignment = None
    if k is not None:
        assignment = Assignment(labels=torch.arange(k), k=k, objective=0.0, centroids=torch.zeros(k, 1))
    return Checkpoint(path=Path("last.ckpt"), card={}, backbone={}, assignment=assignment, capacity=capacity, epoch=1)


@pytest.mark.parametrize(
    ("k", "capacity", "k_is_fixed"),
    [(10, 10, True), (None, 10, True), (10, 10, False), (3, 10, False), (None, 10, False), (3, None, False)],
)
def test_clusters_that_this_run_can_have_are_accepted(k: int | None, capacity: int | None, k_is_fixed: bool) -> None:
    check_same_clusters(stored(k, capacity), 10, k_is_fixed=k_is_fixed)


@pytest.mark.parametrize(
    ("k", "capacity", "k_is_fixed", "said"),
    [
        (11, 10, True, "last.ckpt holds 11 clusters, this run has clustering.k=10; put the run's own checkpoint back"),
        (9, 10, True, "last.ckpt holds 9 clusters, this run has clustering.k=10"),
        (11, 10, False, "last.ckpt holds 11 clusters with room for 10, this run's clustering.max_k has room for 10"),
        (5, 20, False, "last.ckpt holds 5 clusters with room for 20, this run's clustering.max_k has room for 10"),
    ],
)
def test_clusters_of_another_run_are_refused(k: int, capacity: int, k_is_fixed: bool, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_same_clusters(stored(k, capacity), 10, k_is_fixed=k_is_fixed)
    assert said in str(refused.value)


COATES = {"_target_": "deepcluster.models.coates.Coates", "n_filters": 20, "patch_size": 6, "hard": False}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": 1, "n_groups": None}, None),  # defaults of keys that the file is older than
        ({"layers": 2}, "'layers': 2"),
        ({"n_filters": 30}, "'n_filters': 30"),
        ({"_target_": "deepcluster.models.lenet.LeNet5"}, "LeNet5"),
    ],
    ids=str,
)
def test_a_network_is_the_same_where_only_keys_came_since(change: dict[str, object], said: str | None) -> None:
    there = {"arch": COATES, "in_channels": 3, "image_size": 32}
    here = {**there, "arch": {**COATES, **change}}
    if said is None:
        check_same_network(there, here, Path("run"))
    else:
        with pytest.raises(ValueError, match=f"holds another network: its arch is .*, this run's is .*{said}"):
            check_same_network(there, here, Path("run"))


def test_a_checkpoint_tells_whether_its_epoch_has_steps_to_go(tmp_path: Path) -> None:
    with pytest.raises(tiny.Killed):
        tiny.build(tmp_path, max_epochs=2, every_n_steps=1, kill_after=(1, 1)).fit()
    killed = load_checkpoint(tmp_path)
    assert (killed.epoch, killed.in_epoch) == (2, True)
    tiny.build(tmp_path, max_epochs=2, every_n_steps=1).fit(resume=True)
    ended = load_checkpoint(tmp_path)
    assert (ended.epoch, ended.in_epoch) == (2, False)


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_a_file_that_is_cut_short_is_named_wherever_it_ends(as_zip: bool, share: float, tmp_path: Path) -> None:
    file = tmp_path / "x.pth.tar"
    content = {"arch": "alexnet", "state_dict": {"features.0.weight": torch.zeros(3_000)}}
    torch.save(content, file, _use_new_zipfile_serialization=as_zip)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"x\.pth\.tar .*damaged"):
        read_torch_file(file)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_file_with_changed_bytes_is_read_or_named(as_zip: bool, tmp_path: Path) -> None:
    """Each byte of a small file's pickle in turn: torch raises IndexError or AssertionError for some."""
    file = tmp_path / "x.pth.tar"
    torch.save({"arch": "alexnet", "state_dict": {"w": torch.zeros(3)}}, file, _use_new_zipfile_serialization=as_zip)
    whole = file.read_bytes()
    refused = 0
    for i in range(0, len(whole), 2):
        file.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            read_torch_file(file)
        except ValueError as error:
            refused += "x.pth.tar" in str(error)
    assert refused > len(whole) / 20


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_torch_file(tmp_path / "x.pth.tar")


@pytest.mark.parametrize(("final", "last", "found"), [(9, 9, "final"), (9, 12, "last"), (9, None, "final")])
def test_a_run_is_its_final_network_unless_it_is_trained_on(
    final: int, last: int | None, found: str, tmp_path: Path
) -> None:
    """Also in a copy, whose files may be of any time and order."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save({"epoch": final, "w": torch.zeros(3)}, folder / "final.ckpt")
    if last is not None:
        torch.save({"epoch": last, "w": torch.zeros(3)}, folder / "last.ckpt")
        os.utime(folder / ("last.ckpt" if found == "final" else "final.ckpt"), (2e9, 2e9))
    assert find_checkpoint(tmp_path) == folder / f"{found}.ckpt"
    (folder / "final.ckpt").write_bytes(b"damaged")  # whoever reads it says so
    assert find_checkpoint(tmp_path).name == "final.ckpt"
