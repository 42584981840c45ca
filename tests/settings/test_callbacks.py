"""Callbacks by `_target_`: the user's own, refused with a sentence where they do not fit; a stranger's are not run."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from hydra import compose, initialize_config_dir
from support.configs import CONFIGS

from deepcluster.app.hydra_setup import register
from deepcluster.run.assemble import build_callbacks
from deepcluster.settings.callbacks import check_callbacks
from deepcluster.settings.resume import resumed_config
from deepcluster.settings.train import TrainConfig, train_config

MONITOR = "pytorch_lightning.callbacks.LearningRateMonitor"
MINE = """
from pathlib import Path
import pytorch_lightning as pl
Path("executed").touch()
class Printer(pl.Callback):
    def __init__(self, text: str = ""):
        self.text = text
"""


@pytest.fixture(autouse=True)
def my_callbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's on the python path, which leaves a mark when it is imported."""
    (tmp_path / "my_callbacks.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_callbacks", raising=False)


def composed(*typed: str) -> TrainConfig:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        cfg = compose("train", overrides=list(typed))
        return train_config(cfg if cfg.resume is None else resumed_config(cfg, list(typed)))


def stored(folder: Path, **callbacks: Any) -> str:
    """What is typed to resume a run with these callbacks in its config.yaml."""
    folder.mkdir()
    trainer = {"_target_": "pytorch_lightning.Trainer", "max_epochs": 1, "devices": 1, "precision": "32-true"}
    config = {"arch": {"_target_": "deepcluster.models.lenet.LeNet5"}, "trainer": trainer, "callbacks": callbacks}
    config |= {"init": {"kind": "random"}, "clustering": {"kind": "kmeans", "k": 10}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return f"resume={folder}"


def test_lightnings_and_ones_own_are_built_in_their_order() -> None:
    typed = [f"+callbacks.lr._target_={MONITOR}", "+callbacks.lr.logging_interval=step"]
    typed += ["+callbacks.mine._target_=my_callbacks.Printer", "+callbacks.mine.text=hello"]
    first, second = build_callbacks(composed(*typed).callbacks)
    assert isinstance(first, pl.callbacks.LearningRateMonitor) and first.logging_interval == "step"
    assert second.text == "hello"  # type: ignore[attr-defined]


def test_a_file_of_the_group_and_null() -> None:
    (monitor,) = build_callbacks(composed("callbacks=learning_rate").callbacks)
    assert isinstance(monitor, pl.callbacks.LearningRateMonitor)
    assert build_callbacks(composed("callbacks=learning_rate", "callbacks.learning_rate=null").callbacks) == []
    assert composed().callbacks == {}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "os.mkdir", "path": "executed"}, "callbacks.x._target_=os.mkdir is not allowed; name a Callback"),
        ({"_target_": "no_such.Thing"}, "callbacks.x._target_=no_such.Thing cannot be imported"),
        ({"_target_": MONITOR[:-2] + "r"}, f"did you mean {MONITOR}?"),
        ({"_target_": "lightning.pytorch.callbacks.LearningRateMonitr"}, f"did you mean {MONITOR}?"),
        ({"_target_": MONITOR, "loging_interval": "step"}, "did you mean callbacks.x.logging_interval"),
        ({"_target_": MONITOR, "log_momentum": 3}, "callbacks.x.log_momentum must be bool"),
        ({"_target_": MONITOR, "log_momentum": {"_target_": "os.mkdir"}}, "names a _target_"),
        ({"logging_interval": "step"}, r"callbacks.x needs a class: \+callbacks.x._target_=MODULE.CLASS"),
        (MONITOR, "callbacks.x needs a class"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(node: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_callbacks({"x": node})
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "my_callbacks.Printer"},
        {"_target_": "deepcluster.training.checkpointing.LastCheckpoint", "folder": "/"},
        {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "dirpath": "/"},
        {"_target_": "pytorch_lightning.callbacks.OnExceptionCheckpoint", "dirpath": "/"},
        {"_target_": "pytorch_lightning.callbacks..os.mkdir"},
        {"_target_": "${oc.env:HOME}"},
        "${arch}",
    ],
)
def test_a_strangers_callback_is_not_even_imported(node: Any, tmp_path: Path) -> None:
    typed = stored(tmp_path / "run", p=node)
    with pytest.raises(ValueError, match=r"callbacks\.p\._target_"):
        composed(typed)
    assert not Path("executed").exists()
    assert composed(typed, "callbacks=none").callbacks == {}


def test_stored_callbacks_that_are_no_dictionary_are_refused_by_the_groups_own_key(tmp_path: Path) -> None:
    typed = stored(tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"callbacks": "${arch}"}))
    with pytest.raises(ValueError, match=r"names callbacks=\$\{arch\}, .* type callbacks=none"):
        composed(typed)
    assert composed(typed, "callbacks=none").callbacks == {}


def test_a_resumed_run_keeps_lightnings_callbacks_and_ones_own_when_typed_again(tmp_path: Path) -> None:
    monitor = {"_target_": MONITOR}
    typed = stored(tmp_path / "run", lr=monitor, p={"_target_": "my_callbacks.Printer", "text": "hello"})
    with pytest.raises(ValueError, match=r"type \+callbacks\.p\._target_=my_callbacks\.Printer again to trust it"):
        composed(typed, "+callbacks.p.text=other")
    config = composed(typed, "+callbacks.p._target_=my_callbacks.Printer")
    assert config.callbacks == {"lr": monitor, "p": {"_target_": "my_callbacks.Printer", "text": "hello"}}
