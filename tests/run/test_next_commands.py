"""The commands that a run ends with lead on with this run and its own images."""

import sys
from pathlib import Path

import pytest

from deepcluster.clustering.kmeans import KMeans
from deepcluster.data.settings import Arrays, Folder, Source
from deepcluster.run.next_commands import next_commands


def commands(data: Source, *, schedule: str = "constant", max_epochs: int = 3) -> dict[str, str]:
    return next_commands(Path("runs/a b"), data=data, clustering=KMeans(k=4), max_epochs=max_epochs, schedule=schedule)


@pytest.mark.parametrize(
    ("called", "train", "look"),
    [
        ("/somewhere/bin/deepcluster", "deepcluster train", "deepcluster page 'runs/a b'"),
        (
            "../clone/train.py",
            "python ../clone/train.py",
            """python ../clone/eval.py 'ckpt="runs/a b"' evaluation=page""",
        ),
        ("train.py", "python train.py", """python eval.py 'ckpt="runs/a b"' evaluation=page"""),
    ],
)
def test_commands_name_the_program_as_it_was_called(
    called: str, train: str, look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    told = commands(Arrays())
    assert told["train on"] == f"""{train} 'resume="runs/a b"' trainer.max_epochs=6"""
    assert told["look"] == look
    assert told["your own images"] in ("deepcluster DIR", f"{train} experiment=photographs data.root=DIR")
    assert all(command.split()[0] == train.split()[0] for command in told.values())


def test_a_run_on_ones_own_images_does_not_lead_back_to_the_shipped_set() -> None:
    assert set(commands(Folder(root="photos"))) == {"look", "train on", "new images", "train with more"}
    assert set(commands(Arrays())) - set(commands(Folder(root="photos"))) == {"your own images", "compare K"}


def test_a_run_that_cannot_be_trained_on_is_not_told_to() -> None:
    """A cosine schedule has come to its end; settings/resume.py refuses more epochs."""
    assert "train on" not in commands(Folder(root="photos"), schedule="cosine")
    assert "train on" not in commands(Folder(root="photos"), max_epochs=0)
