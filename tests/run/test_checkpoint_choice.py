"""Which checkpoint a run goes on from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from deepcluster.clustering.kmeans import KMeans
from deepcluster.data.settings import Arrays
from deepcluster.run.checkpoint_choice import ThisRun, checkpoints, choose_checkpoint, put_aside
from deepcluster.run.untrained import stored_figures
from deepcluster.settings.resume import what_is_learned
from deepcluster.settings.train import TrainConfig
from deepcluster.system.atomic import find_damage, write_atomically
from deepcluster.training.checkpointing import AtomicCheckpointIO
from deepcluster.training.head_settings import LinearSettings
from deepcluster.training.optimizer import SGDSettings
from deepcluster.training.target_settings import LookupSettings
from deepcluster.weights import checkpoint
from deepcluster.weights.files import find_checkpoint
from deepcluster.weights.start import RandomInit

CARD = {"arch": {"_target_": "deepcluster.models.lenet.LeNet5"}, "in_channels": 1, "image_size": 16}
RUN = ThisRun(card=CARD, settings={"seed": 1, "optimizer.lr": 0.1}, n_images=6, capacity=2, k_is_fixed=True)


def content(epoch: int, **changed: Any) -> dict[str, Any]:
    assignment = {"k": 2, "objective": 1.0, "centroids": torch.zeros(2, 3), "reduction": None, "n_repaired": 0}
    assignment["labels"] = torch.tensor([0, 1, 0, 1, 0, 1], dtype=torch.uint8)
    return {
        "deepcluster": CARD,
        "callbacks": {"reassign": {"assignment": assignment}},
        "state_dict": {
            "backbone.w": torch.arange(1000.0),
            "head.linear.weight": torch.zeros(2, 3),
            "head.linear.bias": torch.zeros(2),
        },
        "epoch": epoch,
        "optimizer_states": [],
        "settings": {"seed": 1, "optimizer.lr": 0.1},
        **changed,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with two checkpoints, the last of epoch 2."""
    for epoch in range(3):
        AtomicCheckpointIO().save_checkpoint(content(epoch), tmp_path / "checkpoints" / "last.ckpt")
    return tmp_path


def chosen(folder: Path) -> tuple[str, list[str]]:
    said: list[str] = []
    return choose_checkpoint(folder, RUN, said.append).path.name, said


def test_the_last_checkpoint_is_gone_on_from_and_the_one_before_is_kept(folder: Path) -> None:
    assert chosen(folder) == ("last.ckpt", [])
    assert checkpoint.load_checkpoint(folder / "checkpoints" / "previous.ckpt").epoch == 2
    assert sorted(file.name for file in (folder / "checkpoints").iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_none_is_kept_where_that_is_not_wanted(tmp_path: Path) -> None:
    for epoch in range(2):
        AtomicCheckpointIO(keep_previous=False).save_checkpoint(content(epoch), tmp_path / "last.ckpt")
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_disk_without_hard_links_keeps_the_one_before_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: Any) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr("os.link", none)
    AtomicCheckpointIO().save_checkpoint(content(3), folder / "checkpoints" / "last.ckpt")
    epochs = [checkpoint.load_checkpoint(file).epoch for file in checkpoints(folder)]
    assert epochs == [4, 3]


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:1500]), "cut short or damaged"),
        (lambda file: file.write_bytes(b""), "cut short or damaged"),
        (lambda file: turn_a_bit(file), "does not fit its checksum"),
        (lambda file: torch.save(content(2, settings={"seed": 2}), file), "its seed is 2, this run's is 1"),
        (lambda file: torch.save({"w": torch.zeros(1)}, file), "is not a checkpoint of deepcluster"),
        (lambda file: torch.save(content(2, deepcluster={**CARD, "image_size": 32}), file), "another network"),
        (lambda file: torch.save(content(2, deepcluster={"arch": CARD["arch"]}), file), "another network"),
        (lambda file: torch.save(content(2, deepcluster=5), file), "was changed"),
        (lambda file: torch.save(content(2, deepcluster={"arch": None}), file), "was changed"),
        (lambda file: torch.save(content(2, callbacks=[]), file), "was changed"),
        (lambda file: torch.save(content(2, callbacks={"reassign": 5}), file), "was changed"),
        (lambda file: torch.save(content(2, callbacks={"reassign": {"assignment": 5}}), file), "was changed"),
        (lambda file: torch.save(content("two"), file), "was changed"),
        (
            lambda file: torch.save({k: v for k, v in content(2).items() if k != "optimizer_states"}, file),
            "holds no training state",
        ),
    ],
)
def test_a_damaged_or_foreign_one_is_refused_by_name_and_the_one_before_is_used(
    spoilt: Any, said: str, folder: Path
) -> None:
    last = folder / "checkpoints" / "last.ckpt"
    spoilt(last)
    name, told = chosen(folder)
    assert name == "previous.ckpt" and len(told) == 1 and str(last) in told[0] and said in told[0]
    put_aside(folder, folder / "checkpoints" / name)
    AtomicCheckpointIO().save_checkpoint(content(2), last)  # which does not push the good one out by the bad one
    assert [checkpoint.load_checkpoint(file).epoch for file in checkpoints(folder)] == [3, 2]


def turn_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(torch.arange(1000.0).numpy().tobytes()) + 2000] ^= 1
    file.write_bytes(data)


def test_two_damaged_ones_are_told_with_the_way_out(folder: Path) -> None:
    for file in checkpoints(folder):
        file.write_bytes(b"hello")
    with pytest.raises(
        ValueError, match=r"last\.ckpt is cut.*previous\.ckpt is cut.*delete .*checkpoints to start again here"
    ):
        chosen(folder)


def test_a_kill_between_the_two_renames_leaves_one_to_go_on_from(folder: Path) -> None:
    (folder / "checkpoints" / "last.ckpt").unlink()
    assert chosen(folder) == ("previous.ckpt", [])
    assert find_checkpoint(folder).name == "previous.ckpt"


def test_every_turned_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    file, random = tmp_path / "x.ckpt", torch.Generator().manual_seed(0)
    torch.save({"w": torch.arange(300.0), "n": 5}, file)
    whole, refused = file.read_bytes(), 0
    for at, bit in zip(
        torch.randint(len(whole), (400,), generator=random).tolist(),
        torch.randint(8, (400,), generator=random).tolist(),
        strict=True,
    ):
        data = bytearray(whole)
        data[at] ^= 1 << bit
        file.write_bytes(data)
        try:
            found = checkpoint.read_torch_file(file)
        except ValueError:
            refused += 1
            continue
        assert found["n"] == 5 and torch.equal(found["w"], torch.arange(300.0)), at
    assert refused > 200


def test_other_files_have_no_damage_to_find(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    assert find_damage(tmp_path / "old") is None
    write_atomically(tmp_path / "text", b"hello")
    assert find_damage(tmp_path / "text") is None


def test_what_is_learned_leaves_out_what_may_change() -> None:
    cfg = OmegaConf.structured(TrainConfig)
    cfg.data, cfg.init, cfg.clustering = Arrays(), RandomInit(), KMeans(k=7)
    cfg.head, cfg.targets, cfg.optimizer = LinearSettings(), LookupSettings(), SGDSettings()
    learned = what_is_learned(OmegaConf.to_object(cfg))
    assert learned["clustering.k"] == 7 and learned["seed"] == 1 and learned["view.size"] == 32
    assert not [key for key in learned if key.startswith(("trainer", "checkpoint", "data.root", "resume", "logger"))]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"objective": "x"}', "{}"])
def test_damaged_figures_of_the_untrained_network_are_measured_again(text: str, tmp_path: Path) -> None:
    (tmp_path / "untrained.json").write_text(text)
    assert stored_figures(tmp_path / "untrained.json") is None
    assert stored_figures(tmp_path / "none.json") is None
    (tmp_path / "untrained.json").write_text('{"objective": 1.5}')
    assert stored_figures(tmp_path / "untrained.json") == {"objective": 1.5}
