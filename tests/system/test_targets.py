"""No `_target_` of a config, wherever it comes from, runs what is no network and no Trainer."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from omegaconf import OmegaConf
from support.configs import CONFIGS

from deepcluster.models.alexnet import AlexNet
from deepcluster.models.resnet import resnet
from deepcluster.settings.resume import resumed_config
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TRAINER_OWNED, train_config
from deepcluster.system import targets
from deepcluster.weights.network import build_backbone
from deepcluster.weights.recognise import Weights

ELSEWHERE = [
    ("arch", "os.system"),
    ("arch", "builtins.open"),
    ("arch", "torch.load"),
    ("arch", "deepcluster.modelsx.f"),
    ("arch", "deepcluster.weights.checkpoint.read_torch_file"),
    ("arch", "Deepcluster.models.lenet.LeNet5"),
    ("arch", " deepcluster.models.lenet.LeNet5"),
    ("arch", None),
    ("arch", ["deepcluster.models.lenet.LeNet5"]),
    ("trainer", "subprocess.Popen"),
    ("trainer", "lightning.pytorch.Trainer"),
    ("trainer", "pytorch_lightning_evil.Trainer"),
]
THROUGH_OURS = [  # beyond the prefix by what a module holds, or by dots
    ("arch", "deepcluster.models.backbone.os.system"),
    ("arch", "deepcluster.models..os.system"),
    ("arch", "deepcluster.models.."),
    ("arch", "deepcluster.models."),
    ("arch", "deepcluster.models.backbone.__loader__.exec_module"),
    ("arch", "deepcluster.models.backbone.nn.Module"),
    ("arch", "deepcluster.models.backbone.Backbone.__init__"),
    ("arch", "deepcluster.models.resnet.torch.load"),
    ("arch", "deepcluster.models.resnet.torchvision"),
    ("arch", "deepcluster.models.head.generator"),
    ("arch", "deepcluster.models.head.ClusterHead"),
    ("arch", "deepcluster.models.timm_model.Any"),
    ("trainer", "pytorch_lightning.core.saving.pl_load"),
    ("trainer", "pytorch_lightning.core.saving.load_hparams_from_yaml"),
    ("trainer", "pytorch_lightning.core.saving.yaml.load"),
    ("trainer", "pytorch_lightning.callbacks.ModelCheckpoint"),
    ("trainer", "pytorch_lightning.utilities.rank_zero.logging.FileHandler"),
]


@pytest.mark.parametrize(("key", "target"), ELSEWHERE + THROUGH_OURS)
def test_what_is_no_network_and_no_trainer_is_neither_checked_through_nor_built(key: str, target: Any) -> None:
    for use in (
        lambda: targets.check_target({"_target_": target}, key, supplied=()),
        lambda: targets.build({"_target_": target}, key),
    ):
        with pytest.raises(ValueError, match=rf"{key}\._target_=.* (is not allowed|cannot be imported)"):
            use()


def test_what_the_groups_name_is_found() -> None:
    assert targets.locate("deepcluster.models.alexnet.AlexNet", "arch") is AlexNet
    assert targets.locate("deepcluster.models.resnet.resnet", "arch") is resnet
    assert targets.locate("pytorch_lightning.Trainer", "trainer") is pl.Trainer
    for file in CONFIGS.glob("*/*.yaml"):
        node = yaml.safe_load(file.read_text())
        if isinstance(node, dict) and "_target_" in node:
            targets.locate(node["_target_"], file.parent.name)


EVIL = {"_target_": "os.mkdir", "path": "executed"}


@pytest.mark.parametrize(
    "values",
    [
        {"strategy": EVIL},
        {"profiler": {"a": [1, {"b": EVIL}]}},
        {"limit_train_batches": [EVIL]},
        {"_args_": [EVIL]},
        {"_partial_": True},
        {"callbacks": [EVIL]},
        {"logger": EVIL},
        {"strategy": [{1: ({"x": EVIL},)}]},
        {"_recursive_": True},
        {"_convert_": "all"},
        {"plugins": [EVIL]},
    ],
)
def test_a_target_deeper_inside_a_group_is_refused(values: dict[str, Any]) -> None:
    node = {"_target_": "pytorch_lightning.Trainer", **values}
    with pytest.raises(ValueError, match=r"trainer\.\w+ (names a _target_|is not allowed|is set by the run)"):
        targets.check_target(node, "trainer", supplied=TRAINER_OWNED)


def stored_config(**groups: Any) -> dict[str, Any]:
    trainer = {"_target_": "pytorch_lightning.Trainer", "max_epochs": 1, "devices": 1, "precision": "32-true"}
    arch = {"_target_": "deepcluster.models.lenet.LeNet5"}
    return {"arch": arch, "trainer": trainer, "init": {"kind": "random"}, "clustering": {"kind": "kmeans", "k": 10}} | {
        **groups
    }


@pytest.mark.parametrize(
    "groups",
    [
        {"arch": EVIL},
        {"arch": {"_target_": "deepcluster.models.lenet.LeNet5", "channels": EVIL}},
        {"trainer": {**stored_config()["trainer"], **EVIL}},
        {"trainer": {**stored_config()["trainer"], "strategy": EVIL}},
        {"logger": EVIL},
        {"logger": {"kind": "wandb", **EVIL}},
        {"logger": {"kind": "os.mkdir"}},
        {"sampler": EVIL},
        {"trainer": {**stored_config()["trainer"], "strategy": "${evil:executed}"}},
        {"data": EVIL},
        {"reduction": EVIL},
        {"clustering": {"kind": "kmeans", "k": 10, **EVIL}},
        {"init": {"kind": "os.mkdir"}},
        {"hydra": {"callbacks": {"x": EVIL}}},
        {"evil": EVIL},
    ],
)
def test_a_strangers_run_folder_runs_nothing(
    groups: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(stored_config(**groups)))
    cfg = OmegaConf.create({"resume": str(tmp_path), "trainer": {}})
    with pytest.raises(ValueError):
        train_config(resumed_config(cfg, [f"resume={tmp_path}"]))
    assert not (tmp_path / "executed").exists()
    file.write_text(yaml.safe_dump(stored_config()))
    assert train_config(resumed_config(cfg, [])).clustering.kind == "kmeans"  # without them it is a config


def test_yaml_that_builds_objects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in ('!!python/object/apply:os.mkdir ["executed"]', '!!python/object/new:os.mkdir ["executed"]'):
        (tmp_path / "config.yaml").write_text(f"output_dir: {line}\n")
        with pytest.raises(ValueError, match="is not the config of a run"):
            read_stored_config(tmp_path / "config.yaml")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("target", ["os.mkdir", "deepcluster.models.backbone.os.mkdir", None])
def test_a_strangers_checkpoint_builds_no_target_of_its_own(
    target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card of a checkpoint or of an exported network's json: both come here."""
    monkeypatch.chdir(tmp_path)
    card = {"arch": {"_target_": target, "path": "executed"}, "in_channels": 1, "image_size": 16}
    with pytest.raises(ValueError, match=r"arch\._target_"):
        build_backbone(card, weights=Weights(path=tmp_path, format="", tensors={"w": torch.zeros(1)}, card=card))
    assert not (tmp_path / "executed").exists()
