"""The config: every option composes, every bad value is refused with what to do about it, before anything starts."""

import copy
import itertools
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from support.configs import CONFIGS, NEEDS

from deepcluster.app.errors import message_for_user
from deepcluster.app.hydra_setup import register
from deepcluster.app.sweep.overrides import expand_jobs
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.pic import PIC
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import ARRAYS, SOURCES, Arrays, Folder, Huggingface, Litdata, Source
from deepcluster.features.settings import Extraction
from deepcluster.settings.composed import as_dataclass, check_kinds
from deepcluster.settings.eval import EvalConfig, eval_config
from deepcluster.settings.moved_keys import with_new_keys
from deepcluster.settings.options import EVAL_OPTIONS, OPTIONS
from deepcluster.settings.resume import may_change, resumed_config
from deepcluster.settings.run_folder import file_name, run_folder
from deepcluster.settings.stored import read_stored_config, write_config
from deepcluster.settings.train import TrainConfig, check_sizes, train_config
from deepcluster.system.quoting import argument
from deepcluster.system.setting import IS_PATH
from deepcluster.tracking.settings import TensorBoardSettings, WandbSettings
from deepcluster.training.schedule import Schedule

TRAIN_GROUPS = [group.name for group in sorted(CONFIGS.iterdir()) if group.is_dir() and group.name != "hydra"]
TRAIN_GROUPS.remove("evaluation")  # of eval.py


@pytest.fixture(autouse=True, scope="module")
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        yield
    assert not GlobalHydra.instance().is_initialized()


def composed(*overrides: str, name: str = "train") -> DictConfig:
    return compose(name, overrides=list(overrides))


def options(group: str) -> list[str]:
    return [f"{group}={file.stem}" for file in sorted((CONFIGS / group).glob("*.yaml"))]


def refusal(*overrides: str) -> str:
    """What the program says to these overrides."""
    try:
        train_config(composed(*overrides))
    except Exception as error:
        return message_for_user(error)
    raise AssertionError(f"{overrides} was accepted")


def groups(settings: TrainConfig) -> tuple[Clustering, Reduction, Schedule]:
    """What has to fit the number of images."""
    return settings.clustering, settings.reduction, settings.reassign


@pytest.mark.parametrize("option", itertools.chain.from_iterable(map(options, TRAIN_GROUPS)))
def test_every_option_composes_and_is_accepted(option: str) -> None:
    if option in ("arch=timm", "logger=mlflow", "logger=tensorboard"):
        pytest.importorskip(option.partition("=")[2])
    train_config(composed(option, *NEEDS.get(option, [])))


BASE = {"source", "root", "labels", "n_channels", "limit"}
OF_TABLES = {"train_split", "test_split", "image_column", "label_column", "id"}
OWN = {  # kind -> its keys
    **dict.fromkeys((*ARRAYS, "folder", "parquet"), BASE),
    "huggingface": {*BASE, *OF_TABLES, "name", "config", "revision"},
    "litdata": {*BASE, *OF_TABLES, "cache_gb"},
}


@pytest.mark.parametrize("option", options("data"))
def test_a_source_has_its_own_keys_only(option: str) -> None:
    found = composed(option).data
    assert set(found) == OWN[found.source] and OmegaConf.get_type(found) is SOURCES[found.source]


def test_an_option_of_ones_own_names_its_kind_in_its_first_lines(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, head in (("new", "defaults: [/data_folder@_here_, _self_]"), ("old", "source: folder")):
        (tmp_path / "data" / f"{name}.yaml").write_text(f"{head}\nroot: here\n")
    path = f"hydra.searchpath=[file://{tmp_path}]"
    assert train_config(composed(path, "data=new")).data == Folder(root="here")
    with pytest.raises(ValueError, match=r"defaults: \[/data_folder@_here_, _self_\]$"):
        train_config(composed(path, "data=old"))


@pytest.mark.parametrize(("name", "source"), [*(("train", kind) for kind in OWN), ("eval", "folder")])
def test_a_source_refuses_the_keys_of_others(name: str, source: str) -> None:
    found = composed(f"data={source}", name=name)
    for key in set().union(*OWN.values()) - OWN[source]:
        typed = copy.deepcopy(found)
        typed.data[key] = 7  # as Hydra does it for data.KEY=7
        others = " and ".join(f"data={kind}" for kind, keys in OWN.items() if key in keys)
        with pytest.raises(ValueError, match=f"^there is no key data.{key} here: it is for {others}$"):
            as_dataclass(typed)


@pytest.mark.parametrize("option", [*options("evaluation"), "data=cifar10", "seed=2"])
def test_every_option_of_eval_composes_and_is_accepted(option: str) -> None:
    settings = as_dataclass(composed("ckpt=run", option, name="eval"))
    check_kinds(settings, EVAL_OPTIONS)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("evaluation.kind=assign", ["evaluation.kind=assign", "representation, assign, export"]),
        ("evaluation.formats=[onnx]", ["evaluation.formats"]),
        ("evaluation=export evaluation.formats=[onx]", ["evaluation.formats", "safetensors", "onx"]),
        ("evaluation=export evaluation.formats=[]", ["evaluation.formats", "safetensors"]),
    ],
)
def test_what_eval_cannot_do_is_refused(typed: str, named: list[str]) -> None:
    with pytest.raises(Exception) as refused:  # whatever is said in one line at the end
        check_kinds(as_dataclass(composed("ckpt=run", *typed.split(), name="eval")), EVAL_OPTIONS)
    said = message_for_user(refused.value)
    assert not [name for name in named if name not in said], said


@pytest.mark.parametrize("name", ["train", "eval"])
def test_a_seed_below_0_is_refused_by_both_programs(name: str) -> None:
    with pytest.raises(ValueError, match=r"^seed must be at least 0, got -1$"):
        as_dataclass(composed(*(["ckpt=run"] if name == "eval" else []), "seed=-1", name=name))


ALIGNMENT = "evaluation=initial_alignment"


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("", ["evaluation=representation needs a network", "ckpt=RUN_OR_FILE"]),
        ("evaluation=knn arch=lenet5 data=cifar10", ["evaluation=knn needs a network", "ckpt=RUN_OR_FILE"]),
        (f"{ALIGNMENT} arch=lenet5", [ALIGNMENT, "data=OPTION"]),
        (f"{ALIGNMENT} data=cifar10", [ALIGNMENT, "arch=OPTION"]),
        (f"{ALIGNMENT} data=cifar10 arch=lenet5 +arch.chanels=[3,4]", ["arch.chanels", "arch.channels?"]),
        (f"{ALIGNMENT} data=cifar10 arch=lenet5 init=random init.kind=weights", ["init.kind=weights"]),
        (f"{ALIGNMENT} arch=lenet5 view=deepdive_32", ["data=OPTION"]),
        ("ckpt=run arch=lenet5", ["arch=lenet5", "ckpt=run", "leave one of the two out"]),
        ("ckpt=run data=folder data.root=x view.size=64", ["view.size=64", "ckpt=run", "leave one of the two out"]),
        ("ckpt=run data=cifar10 view=plain", ["view=plain", "ckpt=run"]),
        ("ckpt=run init=kmeans_patches", ["init=kmeans_patches", "ckpt=run"]),
    ],
)
def test_a_network_is_the_checkpoints_or_chosen(typed: str, named: list[str]) -> None:
    with pytest.raises(Exception) as refused:
        eval_config(composed(*typed.split(), name="eval"), typed.split())
    said = message_for_user(refused.value)
    assert not [name for name in named if name not in said], said


def test_without_a_checkpoint_groups_say_which_networks_on_which_images() -> None:
    typed = [
        ALIGNMENT,
        "data=cifar10",
        "view=deepdive_32",
        "arch=lenet5_bn",
        "init=kmeans_patches",
        "evaluation.dim=[null,7]",
    ]
    found = eval_config(composed(*typed, name="eval"), typed)
    assert found.data is not None and found.init is not None and found.arch is not None
    assert (found.view.resize, found.init.kind, found.arch["batch_norm"]) == (44, "kmeans_patches", True)
    typed = ["ckpt=run", "data=folder", "data.root=images"]
    assert eval_config(composed(*typed, name="eval"), typed).init is None


def test_the_manual_names_the_defaults() -> None:
    cfg = composed()
    manual = (CONFIGS / "hydra" / "help" / "deepcluster.yaml").read_text()
    named = dict(re.findall(r"^    ([a-z_.]+)=([a-z0-9.]\S*)  ", manual, flags=re.MULTILINE))
    assert {"clustering.k", "reduction.dim", "trainer.max_epochs", "seed"} <= named.keys()
    ours = {
        key: str(OmegaConf.select(cfg, key)) for key in named if key != "reading.num_workers"
    }  # null suits the data
    assert ours == {key: value for key, value in named.items() if key in ours}


def test_an_experiment_changes_only_what_it_says() -> None:
    plain, experiment = train_config(composed()), train_config(composed("experiment=cifar10"))
    assert (experiment.clustering.k, experiment.reduction.dim, experiment.trainer["max_epochs"]) == (1000, 256, 20)
    assert experiment.arch["_target_"].endswith("SmallAlexNet") and experiment.data.source == "cifar10"
    assert (experiment.optimizer, experiment.reassign, experiment.sampler) == (
        plain.optimizer,
        plain.reassign,
        plain.sampler,
    )


def test_a_view_changes_what_is_seen_and_nothing_else() -> None:
    plain = train_config(composed("data=cifar10"))
    seen = train_config(composed("data=cifar10", "view=strong", "view.blur_probability=0.1"))
    assert (seen.view.color_jitter, seen.view.grey_probability) == ([0.8, 0.8, 0.8, 0.2], 0.2)
    assert seen.view.blur_probability == 0.1  # the command line has the last word
    assert (seen.data.source, seen.view.size, seen.view.mean) == ("cifar10", 32, plain.view.mean)
    assert train_config(composed("data=svhn", "view=strong")).view.flip is False  # a mirrored digit is another sign
    papers = {"original": (224, 256), "deepdive_224": (224, 256), "deepdive_32": (32, 44)}
    for name, (size, resize) in papers.items():
        view = train_config(composed(f"view={name}")).view
        assert (view.size, view.resize, view.crop_scale, view.flip) == (size, resize, [0.08, 1.0], True)


# What is typed, and what the answer must name: the key, the value or limit, and the way out.
REFUSED = [
    # keys and options that do not exist
    ("clustering.kk=3", ["clustering.kk", "clustering.k?"]),
    ("trainer.max_epoch=3", ["trainer.max_epoch", "trainer.max_epochs?"]),
    ("trainer.benchmark=true", ["trainer.benchmark", "+trainer.benchmark=VALUE"]),
    ("xyz=bar", ["xyz", "clustering", "output_dir"]),
    ("+xyz=bar", ["xyz", "clustering", "output_dir"]),
    ("+clustering.kk=3", ["clustering.kk", "clustering.k?"]),
    ("+evaluation.knn.kk=3", ["evaluation.knn.kk", "evaluation.knn.k?"]),
    ("+evaluation.knn.zzz=3", ["evaluation.knn.zzz", "temperature"]),
    ("+trainer.maxepochs=3", ["trainer.maxepochs", "trainer.max_epochs?"]),
    ("+arch.dropuot=0.1", ["arch.dropuot", "channels"]),
    ("+trainer.logger=false", ["trainer.logger", "leave it out"]),
    ("data=cifar11", ["data=cifar11", "fashion_mnist", "cifar10?"]),
    ("clustering", ["clustering", "KEY="]),
    ("data.root=/my(dir", ["data.root=/my(dir", "put quotes"]),
    # types
    ("clustering.k=abc", ["clustering.k", "abc", "integer"]),
    ("clustering.k=", ["clustering.k", "integer"]),
    ("clustering.k=2.5", ["clustering.k", "2.5", "integer"]),
    ("clustering.k=[]", ["clustering.k", "integers", "[]"]),
    ("clustering.k=[50,a]", ["clustering.k", "integers", "'a'"]),
    ("clustering.k=[50,1]", ["clustering.k", "at least 2", "[50, 1]"]),
    ("optimizer.lr=fast", ["optimizer.lr", "fast"]),
    ("view.mean=grey", ["view.mean", "list"]),
    ("trainer.max_epochs=abc", ["trainer.max_epochs", "int", "abc"]),
    ("arch.channels=5", ["arch.channels", "list of int", "5"]),
    ("arch.batch_norm=maybe", ["arch.batch_norm", "bool", "maybe"]),
    # values
    ("clustering.k=1", ["clustering.k", "at least 2", "1"]),
    ("clustering.n_iter=0", ["clustering.n_iter", "at least 1"]),
    ("clustering.backend=fais", ["clustering.backend", "faiss", "fais"]),
    ("clustering.empty=drop", ["clustering.empty", "repair, squeeze, keep", "drop"]),
    ("optimizer.head_momentum=1", ["optimizer.head_momentum", "[0, 1)", "1"]),
    ("evaluation.nmi_average=mean", ["evaluation.nmi_average", "arithmetic, geometric", "mean"]),
    ("clustering=pic clustering.k=5", ["clustering.k", "finds K itself", "clustering.max_k"]),
    ("clustering=pic +clustering.k=5", ["clustering.k", "finds K itself", "clustering.max_k"]),
    ("experiment=cifar10 clustering=pic", ["experiment/cifar10.yaml without clustering.k", "finds K itself"]),
    ("clustering=pic clustering.sigma=0", ["clustering.sigma", "above 0", "0.0"]),
    ("clustering=pic clustering.alpha=1", ["clustering.alpha", "in (0, 1)", "1.0"]),
    ("clustering=pic clustering.kind=kmeans", ["clustering.kind", "pic"]),
    ("reduction.dim=0", ["reduction.dim", "0"]),
    ("reassign.epochs=0", ["reassign.epochs", "above 0"]),
    ("reassign.every=0", ["reassign.every", "at least 1"]),
    ("sampler.kind=unifrom", ["sampler.kind", "uniform", "unifrom"]),
    ("optimizer.lr=-1", ["optimizer.lr", "-1"]),
    ("optimizer.schedule=cosin", ["optimizer.schedule", "cosine"]),
    ("optimizer.warmup_epochs=20", ["optimizer.warmup_epochs=20", "below trainer.max_epochs=20"]),
    ("optimizer.final_share=2", ["optimizer.final_share", "[0, 1]", "2"]),
    ("optimizer.layer_decay=0", ["optimizer.layer_decay", "(0, 1]", "0"]),
    ("optimizer.frozen_stages=-1", ["optimizer.frozen_stages", "at least 0", "-1"]),
    ("optimizer.frozen_stages=conv1", ["optimizer.frozen_stages", "[conv1,conv2]", "'conv1'"]),
    ("optimizer=adamw optimizer.momentum=0.9", ["no key optimizer.momentum", "optimizer.betas"]),
    ("optimizer=adamw optimizer.betas=[0.9]", ["optimizer.betas", "two numbers", "[0.9]"]),
    ("optimizer=lars optimizer.trust_coefficient=0", ["optimizer.trust_coefficient", "above 0"]),
    ("optimizer.trust_coefficient=1", ["optimizer.trust_coefficient", "optimizer=lars"]),
    # sources
    ("data.source=cifar", ["data.source", "cifar10"]),
    ("data=folder data.root=x data.source=parquet", ["data.source=parquet", "data=OPTION", "huggingface"]),
    ("data=folder", ["data.root has no value", "data.root=VALUE"]),
    ("data=folder data.root=null", ["data=folder needs data.root=DIR"]),
    ("data=parquet data.root=null", ["data=parquet needs data.root=DIR"]),
    ("data=litdata data.root=null", ["data=litdata needs data.root=DIR"]),
    ("data=huggingface", ["data.name=OWNER/SET", "data.root=DIR"]),
    ("data.limt=5", ["no key data.limt", "data.limit?"]),
    ("data.siz=48", ["no key data.siz", "view.size?"]),
    ("data.colour=3", ["no key data.colour", "source, root, labels, n_channels, limit"]),
    ("data=huggingface data.name=a/b data.image_colum=x", ["no key data.image_colum", "data.image_column?"]),
    ("reading.batch_size=1", ["reading.batch_size", "at least 2"]),
    ("view.crop_scale=[0,1]", ["view.crop_scale", "(0, 1]"]),
    ("view.color_jitter=[0.8,0.8,0.8,0.9]", ["view.color_jitter", "hue at most 0.5", "0.9"]),
    ("view.blur_probability=2", ["view.blur_probability", "[0, 1]", "2"]),
    ("reading.check=some", ["reading.check", "sample", "some"]),
    ("reading.num_workers=-1", ["reading.num_workers", "[0, 1024]"]),
    ("reading.on_broken=ignore", ["reading.on_broken", "skip"]),
    ("checkpoint.every_n_epochs=0", ["checkpoint.every_n_epochs", "at least 1"]),
    ("monitor.every_n_epochs=0", ["monitor.every_n_epochs", "at least 1", "null"]),
    ("checkpoint.every_n_steps=0", ["checkpoint.every_n_steps", "at least 1"]),
    ("extraction.batch_size=0", ["extraction.batch_size", "at least 1"]),
    ("evaluation.knn.k=0", ["evaluation.knn.k", "at least 1"]),
    ("evaluation.linear_probe.epochs=0", ["evaluation.linear_probe.epochs", "at least 1"]),
    ("trainer.max_epochs=-1", ["trainer.max_epochs", "at least 1", "-1"]),
    ("seed=-1", ["seed", "at least 0"]),
    ("init.kind=foo", ["init.kind", "checkpoint"]),
    # what an option needs
    ("init=checkpoint", ["init.path"]),
    ("init=weights", ["init.path"]),
    ("arch=timm", ["arch.name", "arch.name=VALUE"]),
    ("other_rows.n_beside=2", ["other_rows.n_beside", "other_rows=coates"]),
    # targets
    ("arch._target_=os.system", ["arch._target_=os.system", "deepcluster.models."]),
    ("arch._target_=torch.load", ["arch._target_=torch.load", "deepcluster.models."]),
    ("arch._target_=deepcluster.models.lenet.LeNet6", ["arch._target_", "LeNet6"]),
    ("arch._target_=deepcluster.models.backbone.math", ["arch._target_", "name a Backbone"]),
    ("trainer._target_=builtins.open", ["trainer._target_", "pytorch_lightning."]),
    ("+logger._target_=builtins.open", ["no key logger._target_"]),
    # loggers
    ("logger=wandb logger.pictures_every=-1", ["logger.pictures_every", "0 for none", "-1"]),
    ("logger=tensorboard logger.n_members=0", ["logger.n_members", "[1, 100]"]),
    ("logger=wandb logger.assignments=every", ["logger.assignments", "last, all, none", "every"]),
    ("logger=mlflow logger.project=''", ["logger.project"]),
    ("logger.kind=wandb", ["logger.kind=wandb", "logger=OPTION"]),
]


@pytest.mark.parametrize(("typed", "named"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_what_is_not_possible_is_refused_in_one_line_that_helps(typed: str, named: list[str]) -> None:
    said = refusal(*typed.split(" "))
    assert "\n" not in said
    assert not [name for name in named if name not in said], said


def test_an_experiment_is_combined_with_another_clustering_as_the_refusal_says(tmp_path: Path) -> None:
    text = (CONFIGS / "experiment" / "cifar10.yaml").read_text()
    assert "clustering:\n  k: 1000\n" in text
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "cifar10_copy.yaml").write_text(text.replace("clustering:\n  k: 1000\n", ""))
    found = composed(f"hydra.searchpath=[file://{tmp_path}]", "experiment=cifar10_copy", "clustering=pic")
    settings = train_config(found)
    assert settings.clustering == PIC() and settings.reduction.dim == 256


def test_several_k_are_one_run_with_as_many_labelings(tmp_path: Path) -> None:
    settings = train_config(composed("clustering.k=[50,100]"))
    assert settings.clustering == KMeans(k=[50, 100])
    write_config(settings, tmp_path)
    assert resume(tmp_path).clustering == KMeans(k=[50, 100])


def test_null_lets_a_logger_decide() -> None:
    logger = train_config(composed("logger=wandb")).logger
    assert isinstance(logger, WandbSettings) and logger.offline is None


@pytest.mark.parametrize(
    ("overrides", "n_images", "feature_dim", "named"),
    [
        (["clustering.k=301"], 300, 84, ["clustering.k=301", "300", "lower clustering.k"]),
        (["reduction.dim=85"], 300, 84, ["reduction.dim=85", "84"]),
        (["reduction.dim=64"], 50, 84, ["reduction.dim=64", "50"]),
        (["reassign.epochs=0.001"], 300, 84, ["reassign.epochs=0.001", "300", "raise it"]),
    ],
)
def test_sizes_that_do_not_fit_the_data_are_refused(
    overrides: list[str], n_images: int, feature_dim: int, named: list[str]
) -> None:
    settings = train_config(composed("clustering.k=10", *overrides))
    with pytest.raises(ValueError) as refused:
        check_sizes(
            settings.clustering, settings.reduction, settings.reassign, n_images=n_images, feature_dim=feature_dim
        )
    assert not [name for name in named if name not in str(refused.value)], refused.value


def test_fewer_images_than_neighbours_are_refused_with_pic() -> None:
    settings = train_config(composed("clustering=pic", "reduction=l2"))
    with pytest.raises(ValueError, match=r"clustering.n_neighbours=5 needs at least 6 images, there are 5; lower"):
        check_sizes(*groups(settings), n_images=5, feature_dim=84)
    check_sizes(*groups(settings), n_images=6, feature_dim=84)


@pytest.mark.parametrize(("k", "dim"), [(300, 84), (2, 1)])
def test_sizes_at_the_limit_are_accepted(k: int, dim: int) -> None:
    settings = train_config(composed(f"clustering.k={k}", f"reduction.dim={dim}"))
    check_sizes(*groups(settings), n_images=300, feature_dim=84)


# Resuming ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run's folder with a config that is not the default."""
    overrides = ["clustering.k=7", "trainer.max_epochs=3", "trainer.precision=32-true", "optimizer.lr=0.01"]
    write_config(train_config(composed(*overrides)), tmp_path)
    return tmp_path


def resume(folder: Path, *overrides: str) -> TrainConfig:
    typed = [f"resume={folder}", *overrides]
    return train_config(resumed_config(composed(*typed), typed))


def test_a_saved_config_comes_back_whole(stored: Path) -> None:
    settings = resume(stored)
    assert (settings.clustering.k, settings.optimizer.lr, settings.trainer["max_epochs"]) == (7, 0.01, 3)
    again = OmegaConf.to_container(OmegaConf.structured(settings))
    write_config(settings, stored)
    assert {**again, "resume": None} == OmegaConf.to_container(OmegaConf.load(stored / "config.yaml"))


def test_a_saved_config_of_another_clustering_comes_back_as_its_own(tmp_path: Path) -> None:
    write_config(train_config(composed("clustering=pic_official", "clustering.max_k=50")), tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace("  sigma: 0.2\n", "  sigma: 0.2\n  arithmetic: float32\n"))  # of old runs
    settings = resume(tmp_path)
    assert settings.clustering == PIC(drop_first_neighbour=True, max_k=50)


@pytest.mark.parametrize(
    "override",
    [
        "clustering.k=8",
        "clustering=kmeans",
        "optimizer.lr=0.1",
        "data=cifar10",
        "reading.batch_size=32",
        "view=strong",
        "data.limit=100",
        "arch=lenet5",
        "reassign=once",
        "seed=2",
        "+arch.sobel=true",
        "~data",
        "experiment=cifar10",
        "output_dir=elsewhere",
    ],
)
def test_what_was_learned_cannot_change_in_a_resumed_run(stored: Path, override: str) -> None:
    with pytest.raises(ValueError, match=r"cannot change in a resumed run.*trainer, logger") as refused:
        resume(stored, override)
    assert str(refused.value).startswith(override)


def test_length_machine_and_logger_may_change_in_a_resumed_run(stored: Path) -> None:
    changed = ["trainer.max_epochs=9", "reading.num_workers=2", "logger=tensorboard", "checkpoint.every_n_steps=5"]
    settings = resume(stored, *changed, "data.root=elsewhere", "+trainer.log_every_n_steps=7")
    assert settings.trainer["max_epochs"] == 9 and settings.trainer["log_every_n_steps"] == 7
    assert settings.reading.num_workers == 2 and settings.data.root == "elsewhere"
    assert settings.logger == TensorBoardSettings() and settings.checkpoint.every_n_steps == 5
    assert settings.clustering.k == 7


def test_a_runs_own_values_may_be_typed_again_in_a_resumed_run(stored: Path) -> None:
    own = OmegaConf.load(stored / "config.yaml").data.source
    assert resume(stored, f"data={own}", "clustering.k=7", "trainer.max_epochs=9").clustering.k == 7


def test_what_may_change_of_the_runs_source_is_typed_without_the_source(tmp_path: Path) -> None:
    write_config(train_config(composed("data=litdata", "data.root=s3://set")), tmp_path)
    assert resume(tmp_path, "data.cache_gb=300").data == Litdata(root="s3://set", cache_gb=300.0)
    write_config(train_config(composed()), tmp_path)
    with pytest.raises(ValueError, match=r"^data.cache_gb=300 cannot change in a resumed run"):
        resume(tmp_path, "data.cache_gb=300")


def test_another_trainer_in_a_resumed_run_is_another_machine_and_nothing_else(stored: Path) -> None:
    settings = resume(stored, "trainer=ddp", "trainer.devices=4")
    assert (settings.trainer["strategy"], settings.trainer["devices"]) == ("ddp", 4)
    assert (settings.trainer["max_epochs"], settings.trainer["precision"]) == (3, "32-true")


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "32", "float"])
def test_a_precision_that_the_network_cannot_have_is_refused(precision: str) -> None:
    with pytest.raises(ValueError, match=r"trainer\.precision must be one of auto, 32-true, .* got " + precision):
        train_config(composed(f"trainer.precision={precision}"))


def test_a_cosine_does_not_go_on_after_its_end(tmp_path: Path) -> None:
    write_config(train_config(composed("optimizer=sgd_cosine", "trainer.max_epochs=3")), tmp_path)
    assert resume(tmp_path).optimizer.schedule == "cosine"
    with pytest.raises(ValueError, match=r"trainer.max_epochs=6 .* optimizer.schedule=cosine, .* epoch 3") as longer:
        resume(tmp_path, "trainer.max_epochs=6")
    assert f"once it is done: deepcluster train follows={tmp_path} trainer.max_epochs=3; to train 6" in str(
        longer.value
    )
    with pytest.raises(ValueError, match=r"epoch 3: to train 2 epochs .* first command with trainer.max_epochs=2$"):
        resume(tmp_path, "trainer.max_epochs=2")


@pytest.mark.parametrize("text", ["clusterin: {k: 3}", "clustering: {n_iter: abc}", "a: [", "- 1"])
def test_a_damaged_config_of_a_run_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml is not the config of a run"):
        resume(tmp_path)


def test_the_run_folder_is_the_one_to_resume_or_asked_for_or_new(stored: Path, tmp_path: Path) -> None:
    assert run_folder(str(stored), None, "new") == str(stored)
    assert run_folder(None, str(tmp_path / "empty"), "new") == str(tmp_path / "empty")
    assert run_folder(None, None, "new") == "new"
    with pytest.raises(ValueError, match="no run there"):
        run_folder(str(tmp_path / "empty"), None, "new")
    with pytest.raises(ValueError, match="already holds a run; continue it with resume="):
        run_folder(None, str(stored), "new")
    with pytest.raises(ValueError, match=r"output_dir=.*config\.yaml is a file"):
        run_folder(None, str(stored / "config.yaml"), "new")


def test_a_job_of_a_sweep_has_a_folders_name_however_much_is_typed() -> None:
    assert file_name("init.path-runs/a_seed-1") == "init.path-runs-a_seed-1"
    assert len(file_name("\u00e9" * 300).encode()) <= 200


# Sweeps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        ["clustering.k=10,20"],
        ["clustering.k=10,20", "reduction.dim=8,16,32", "seed=1"],
        ["clustering.k=range(10,40,10)", "arch=glob(*net*)"],
        ["clustering.k=choice(10,20)", "data.root='/my dir, here'", "+trainer.benchmark=true,false"],
        ["arch.channels=[6,16],[24,64]", "seed=range(3)"],
        ["clustering.k=10,20", "clustering.k=30"],
        ["output_dir=a", "~logger"],
    ],
)
def test_a_sweep_is_checked_for_the_jobs_that_hydra_will_run(overrides: list[str]) -> None:
    loader = GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
    parsed = OverridesParser.create(loader).parse_overrides(overrides)
    assert expand_jobs(overrides) == BasicSweeper.split_arguments(parsed, None)[0]


def test_an_interval_is_refused_because_no_job_could_run_it() -> None:
    with pytest.raises(ValueError, match=r"clustering.k=interval\(1,2\)"):
        expand_jobs(["clustering.k=interval(1,2)"])


# Paths that can be typed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["runs/2026-11-22_02-03-55", "/a b/c", "/a/k=3,x=[1,2](3)", "ü/é", "sweep/0_arch.x-5"])
def test_a_folder_is_told_so_that_it_can_be_typed_again(path: str) -> None:
    import shlex

    (typed,) = shlex.split(argument("output_dir", Path(path)))
    assert composed(typed).output_dir == path


# eval.py's images --------------------------------------------------------------------------------------------------


def evaluated(ckpt: Path, *typed: str) -> Source | None:
    """Which images eval.py reads when this is typed; None: those of the checkpoint's run."""
    overrides = [f"ckpt={ckpt}", *typed]
    return eval_config(composed(*overrides, name="eval"), overrides).data


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a run on images of its own, as far as eval.py looks at it before it starts."""
    typed = ["data=folder", "data.root=here", "reading.batch_size=32", "view.crop_scale=[0.3,0.9]", "data.limit=500"]
    write_config(train_config(composed(*typed)), tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "final.ckpt").touch()
    return tmp_path


def test_data_keys_alone_change_what_the_run_says_of_its_images(trained: Path) -> None:
    of_run = read_stored_config(trained / "config.yaml").data
    assert evaluated(trained) is None
    found = evaluated(trained, "data.root=there", "data.limit=null")
    assert found is not None and (found.source, found.root, found.limit) == ("folder", "there", None)
    unchanged = {key: value for key, value in vars(found).items() if key not in ("root", "limit")}
    assert unchanged == {key: of_run[key] for key in unchanged}


def test_data_keys_alone_are_those_of_the_runs_source(trained: Path) -> None:
    with pytest.raises(Exception) as refused:
        evaluated(trained, "data.image_column=img")
    assert message_for_user(refused.value) == (
        "there is no key data.image_column here: it is for data=huggingface and data=litdata"
    )
    with pytest.raises(Exception) as refused:
        evaluated(trained, "data.limt=9")
    assert message_for_user(refused.value) == "there is no key data.limt; did you mean data.limit?"
    write_config(train_config(composed("data=huggingface", "data.name=a/b")), trained)
    assert evaluated(trained, "data.test_split=dev") == Huggingface(name="a/b", test_split="dev")
    assert evaluated(trained, "data.name=null", "data.root=copy") == Huggingface(root="copy")


def test_view_keys_alone_change_how_the_run_crops_them(trained: Path) -> None:
    typed = [f"ckpt={trained}", "view.flip=false"]
    found = eval_config(composed(*typed, name="eval"), typed)
    assert found.view is not None and (found.view.flip, found.view.crop_scale) == (False, [0.3, 0.9])
    assert found.data is not None and found.data.root == str(Path("here").absolute())


def test_old_keys_are_read_as_they_are_called_now(tmp_path: Path) -> None:
    words = ["data.size=64,96", "+data.flip=false", "data.root=data.size=9", "view.size=3", "~data.resize"]
    now, notes = with_new_keys(words)
    assert now == ["view.size=64,96", "+view.flip=false", "data.root=data.size=9", "view.size=3", "~view.resize"]
    assert notes[0] == "data.size is now view.size" and len(notes) == 3
    write_config(train_config(composed("view.size=48", "view.flip=false", "reading.batch_size=9")), tmp_path)
    plain = OmegaConf.load(tmp_path / "config.yaml")
    for name in [str(name) for name in plain.view if name not in ("n_large", "small", "train_size")]:  # younger
        OmegaConf.update(plain, f"data.{name}", plain.view.pop(name), force_add=True)
    for name in [str(name) for name in plain.reading]:
        OmegaConf.update(plain, f"data.{name}", plain.reading.pop(name), force_add=True)
    OmegaConf.save(plain, tmp_path / "config.yaml")
    stored = read_stored_config(tmp_path / "config.yaml")
    assert (stored.view.size, stored.view.flip, stored.reading.batch_size) == (48, False, 9)


def test_a_source_is_chosen_by_its_option_where_its_old_key_is_typed() -> None:
    assert with_new_keys(["data.source=folder", "data.root=x"])[0] == ["data=folder", "data.root=x"]
    assert with_new_keys(["data.source=folder"])[1] == ["data.source is now data"]
    assert with_new_keys(["data=folder", "data.source=folder"]) == (["data=folder", "data.source=folder"], [])


@pytest.mark.parametrize("source", [Arrays(source="svhn", root="x"), Folder(root="x"), Huggingface(name="a/b", id="n")])
def test_a_stored_source_with_the_keys_of_all_sources_is_read(tmp_path: Path, source: Source) -> None:
    write_config(train_config(composed()), tmp_path)
    plain = OmegaConf.load(tmp_path / "config.yaml")
    plain.data = {**source.which, "cache_gb": 200.0}
    OmegaConf.save(plain, tmp_path / "config.yaml")
    assert resume(tmp_path).data == source


def test_a_data_option_is_other_images_and_not_the_runs(trained: Path) -> None:
    found = evaluated(trained, "data=cifar10", "data.limit=100")
    assert found is not None and (found.source, found.root, found.limit) == ("cifar10", "data", 100)
    typed = [f"ckpt={trained}", "data=cifar10"]
    reading = eval_config(composed(*typed, name="eval"), typed).reading
    assert reading is not None and reading.batch_size == Reading().batch_size


def test_data_keys_of_a_file_without_a_run_are_refused(trained: Path) -> None:
    alone = trained / "alone.ckpt"
    alone.touch()
    with pytest.raises(ValueError, match=r"alone\.ckpt lies outside .* say which, as in data=OPTION data\.limit=9"):
        evaluated(alone, "data.limit=9")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluated(trained / "nowhere", "data.limit=9")
    with pytest.raises(ValueError, match=r"data\.limit must be at least 2, got 1"):
        evaluated(trained, "data.limit=1")


@pytest.mark.parametrize("of_run", ["full", "scaled"])
def test_other_images_are_decoded_as_the_runs_were(trained: Path, of_run: str) -> None:
    stored = OmegaConf.load(trained / "config.yaml")
    stored.reading.decode = of_run
    OmegaConf.save(stored, trained / "config.yaml")
    for typed, decode in (([], of_run), (["reading.decode=full"], "full"), (["reading.decode=scaled"], "scaled")):
        assert decoding(trained, *typed) == (decode, 65_535, None)
    stored.reading.max_value = 4095
    OmegaConf.save(stored, trained / "config.yaml")
    assert decoding(trained) == (of_run, 4095, None)
    assert decoding(trained, "reading.max_value=1023") == (of_run, 1023, None)
    stored.reading.stored_size = 40
    OmegaConf.save(stored, trained / "config.yaml")
    assert decoding(trained) == (of_run, 4095, 40) and decoding(trained, "reading.stored_size=null")[2] is None
    (trained / "config.yaml").write_text("data: 3")  # of another version: the weights are enough
    assert decoding(trained) == ("full", 65_535, None)


def decoding(ckpt: Path, *typed: str) -> tuple[str, int, int | None]:
    """How eval.py decodes the images of another folder when this is typed."""
    overrides = [f"ckpt={ckpt}", "data=folder", "data.root=other", *typed]
    found = eval_config(composed(*overrides, name="eval"), overrides)
    assert found.data is not None and found.data.root == "other" and found.reading is not None
    return found.reading.decode, found.reading.max_value, found.reading.stored_size


def test_what_a_resumed_run_may_change_is_marked_where_the_setting_stands() -> None:
    of_groups = {"trainer", "callbacks", "logger", "checkpoint", "monitor", "files", "estimate", "page"}
    of_reading = ("num_workers", "persistent_workers", "on_broken", "timeout_s", "cache_dir")
    of_images = {"data.root", *(f"reading.{name}" for name in of_reading)}
    of_features = {f"extraction.{name}" for name in ("store", "memory_gb", "scratch", "reuse_mb")}
    assert set(may_change(composed())) == {*of_groups, *of_images, *of_features}
    assert set(may_change(composed("data=litdata"))) == {"data.cache_gb", *of_groups, *of_images, *of_features}


def test_every_setting_that_is_called_as_a_path_is_marked_as_one() -> None:
    names = {"root", "pca_root", "ground_truth", "path", "cache_dir", "scratch", "resume", "ckpt", "output_dir"}
    groups = [kind for kinds in (*OPTIONS.values(), *EVAL_OPTIONS.values()) for kind in kinds.values()]
    paths = [
        (group.__name__, field.name, field.metadata.get(IS_PATH))
        for group in (*groups, Reading, Extraction, TrainConfig, EvalConfig)
        for field in fields(group)
        if field.name in names
    ]
    assert len(paths) > 15 and all(is_path for _, _, is_path in paths), paths
