from pathlib import Path

import numpy as np
import pytest
import torch

from deepcluster.clustering import history
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import read_assignments, write_assignment, write_samples

SAMPLES = ["cat/a.png", "cat/b \u2028\n\u00e9.png", "dog/\udcff.png", "dog/7"]  # odd names are names too


def assignment(labels: list[int], k: int) -> Assignment:
    return Assignment(labels=torch.tensor(labels), k=k, objective=float(k), centroids=torch.zeros(k, 1))


def run_with_three(folder: Path) -> None:
    write_samples(folder / "assignments", SAMPLES)
    write_assignment(folder / "assignments", "final", 12, assignment([1, 0, 1, 0], 2))
    write_assignment(folder / "assignments", "epoch_00012", 12, assignment([2, 1, 0, 0], 3))
    write_assignment(folder / "assignments", "epoch_00003", 3, assignment([0, 1, 0, 1], 2))


def test_what_was_written_is_read_in_the_order_of_the_epochs(tmp_path: Path) -> None:
    run_with_three(tmp_path)
    for folder in (tmp_path, tmp_path / "assignments"):
        found = read_assignments(folder)
        assert found.samples == SAMPLES
        assert found.names == ["epoch_00003", "epoch_00012", "final"]
        assert found.epochs == [3, 12, 12] and found.k == [2, 3, 2] and found.objective == [2.0, 3.0, 2.0]
        assert found.labels.tolist() == [[0, 1, 0, 1], [2, 1, 0, 0], [1, 0, 1, 0]]
        assert found.labels.dtype == np.int64


def test_one_assignment_can_be_asked_for_by_name(tmp_path: Path) -> None:
    run_with_three(tmp_path)
    found = read_assignments(tmp_path)
    assert found.of() == dict(zip(SAMPLES, [1, 0, 1, 0], strict=True))
    assert found.of("epoch_00012") == dict(zip(SAMPLES, [2, 1, 0, 0], strict=True))
    assert read_assignments(tmp_path, "epoch_00003").labels.tolist() == [[0, 1, 0, 1]]
    with pytest.raises(ValueError, match="no assignment named epoch_00004; there are epoch_00003, epoch_00012"):
        found.of("epoch_00004")
    with pytest.raises(FileNotFoundError, match="no assignment named epoch_00004"):
        read_assignments(tmp_path, "epoch_00004")


def test_another_labeling_of_the_same_images_can_be_asked_for(tmp_path: Path) -> None:
    run_with_three(tmp_path)
    write_assignment(tmp_path / "assignments", "labeling_1/epoch_00003", 3, assignment([1, 1, 0, 2], 3))
    for folder in (tmp_path, tmp_path / "assignments"):
        found = read_assignments(folder, labeling=1)
        assert (found.samples, found.names, found.labels.tolist()) == (SAMPLES, ["epoch_00003"], [[1, 1, 0, 2]])
    assert read_assignments(tmp_path).names == ["epoch_00003", "epoch_00012", "final"]
    with pytest.raises(FileNotFoundError, match=r"no labeling=2 in .*; there are 0 to 1"):
        read_assignments(tmp_path, labeling=2)


@pytest.mark.parametrize(("k", "dtype"), [(256, np.uint8), (257, np.uint16), (65537, np.uint32)])
def test_labels_are_stored_in_the_smallest_integers_and_come_back(
    k: int, dtype: type[np.integer], tmp_path: Path
) -> None:
    write_samples(tmp_path, [str(index) for index in range(k)])
    write_assignment(tmp_path, "final", 0, assignment(list(range(k)), k))
    with np.load(tmp_path / "final.npz") as file:
        assert file["labels"].dtype == dtype
    assert read_assignments(tmp_path).labels.tolist() == [list(range(k))]


def test_plain_indices_take_no_room(tmp_path: Path) -> None:
    write_samples(tmp_path, [str(index) for index in range(100_000)])
    assert (tmp_path / history.SAMPLES).stat().st_size < 100
    write_samples(tmp_path, [str(index) for index in range(100_000)])  # the same: fine


def test_a_resumed_run_must_see_the_same_images(tmp_path: Path) -> None:
    write_samples(tmp_path, SAMPLES)
    write_samples(tmp_path, list(SAMPLES))
    with pytest.raises(ValueError, match=r"number 3 was 'dog/7' and is 'dog/8\.png'"):
        write_samples(tmp_path, [*SAMPLES[:3], "dog/8.png"])
    with pytest.raises(ValueError, match="there were 4 and are 5"):
        write_samples(tmp_path, [*SAMPLES, "new.png"])


class Made:
    """Identities that are made when they are asked for, as of a set of millions; no list."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> str:
        return f"made/{range(self.n)[i]}"


def test_a_copy_with_accents_written_otherwise_holds_the_same_images(tmp_path: Path) -> None:
    one, two = "caf\u00e9/1.png", "cafe\u0301/1.png"
    write_samples(tmp_path / "assignments", [one, "z.png"])
    write_samples(tmp_path / "assignments", [two, "z.png"])
    assert history.same_samples(tmp_path, [two, "z.png"])
    assert not history.same_samples(tmp_path, ["cafe/1.png", "z.png"])


def test_identities_need_not_be_a_list(tmp_path: Path) -> None:
    write_samples(tmp_path / "assignments", Made(1000))  # type: ignore[arg-type]  # a sequence by its methods
    write_samples(tmp_path / "assignments", Made(1000))  # type: ignore[arg-type]
    assert history.same_samples(tmp_path, Made(1000))  # type: ignore[arg-type]
    assert not history.same_samples(tmp_path, Made(999))  # type: ignore[arg-type]
    assert not history.same_samples(tmp_path, [f"made/{i}" for i in range(999)] + ["made/x"])
    with pytest.raises(ValueError, match="there were 1000 and are 1001"):
        write_samples(tmp_path / "assignments", Made(1001))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["epoch_00012.npz", history.SAMPLES])
@pytest.mark.parametrize("kept", [0, 0.5, 0.95])
def test_a_cut_file_is_named(name: str, kept: float, tmp_path: Path) -> None:
    run_with_three(tmp_path)
    path = tmp_path / "assignments" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=f"{name} is cut or damaged"):
        read_assignments(tmp_path)


def test_an_assignment_of_other_images_is_named(tmp_path: Path) -> None:
    run_with_three(tmp_path)
    write_assignment(tmp_path / "assignments", "epoch_00013", 13, assignment([0, 1], 2))
    with pytest.raises(ValueError, match=r"epoch_00013\.npz labels 2 images, .* lists 4"):
        read_assignments(tmp_path)


def test_missing_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_assignments(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="give the folder of a run"):
        read_assignments(tmp_path)
    write_samples(tmp_path, SAMPLES)
    with pytest.raises(FileNotFoundError, match=r"no assignments in .* yet"):
        read_assignments(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_with_three(tmp_path)
    files = sorted(path.name for path in (tmp_path / "assignments").iterdir())

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_assignment(tmp_path / "assignments", "final", 12, assignment([0, 0, 0, 1], 2))
    assert read_assignments(tmp_path).of() == dict(zip(SAMPLES, [1, 0, 1, 0], strict=True))
    assert sorted(path.name for path in (tmp_path / "assignments").iterdir()) == files
