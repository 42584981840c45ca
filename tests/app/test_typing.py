"""What is often typed wrong is answered by what was meant, before anything is made or loaded."""

import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from support.configs import CONFIGS
from support.tiny_sets import write_photographs
from support.typed import Typist

from deepcluster.app.errors import message_for_user, user_errors
from deepcluster.app.hydra_setup import register
from deepcluster.app.mistyped import check_words, flags_first
from deepcluster.settings.eval import eval_config
from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.system.extras import packages_command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where is typed: with photographs and a run."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "runs" / "one").mkdir(parents=True)
    for name in ("config.yaml", "summary.json"):
        (tmp_path / "runs" / "one" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(typed: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The error that a command ends with, up to the settings: `train k=50`."""
    job, *words = typed.split()
    monkeypatch.setattr(sys, "argv", ["/bin/deepcluster", *words])
    try:
        check_words(words, job)
        register()
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose(job, words)
            (new_or_resumed_config if job == "train" else eval_config)(config, words)
    except user_errors() as error:
        return message_for_user(error)
    raise AssertionError(f"{typed} is not refused")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("train k=50", "there is no key k; did you mean clustering.k?"),
        ("train K=50", "there is no key K; did you mean clustering.k?"),
        ("train lr=0.1", "did you mean optimizer.lr?"),
        ("train epochs=5", "did you mean trainer.max_epochs?"),
        ("train max_epochs=5", "did you mean trainer.max_epochs?"),
        ("train root=photos", "did you mean data.root?"),
        ("train size=64", "did you mean view.size"),
        ("train dim=64", "did you mean reduction.dim"),
        ("train batch_size=64", "did you mean reading.batch_size?"),
        ("train n_clusters=5", "did you mean clustering.k?"),
        ("train output=x", "did you mean output_dir?"),
        ("train n_seeds=3", "there is no key n_seeds; did you mean seed?"),
        ("eval n_seeds=3", "did you mean evaluation.n_seeds?"),
        ("eval checkpoint=runs/one", "did you mean ckpt?"),
        ("train clustering.K=50", "there is no key clustering.K; did you mean clustering.k?"),
        ("train trainer.epochs=5", "did you mean trainer.max_epochs?"),
        ("train clustering=50", "did you mean deepcluster train clustering.k=50?"),
        ("train arch=resnet34", "did you mean arch=resnet18 arch.name=resnet34?"),
        ("train arch=resnet", "did you mean resnet18 or resnet50?"),
        (
            "train experiment=deepdive",
            "did you mean deepdive_cifar10 or deepdive_cifar10_alexnet or deepdive_fmnist or deepdive_svhn?",
        ),
        ("train clustering.k=25,50", "put -m before them to run each, or brackets: 'clustering.k=[25,50]'"),
        ("eval ckpt=runs/one evaluation=export evaluation.formats=onnx", "in brackets: 'evaluation.formats=[onnx]'"),
        ("eval ckpt=runs/one/summary.json data.limit=5", "did you mean its run, runs/one?"),
        ("train evaluation=knn", "measures a finished run: deepcluster eval ckpt=RUN evaluation=knn"),
        ("train data.root=photos", "reads no data.root=photos; did you mean data=folder data.root=photos?"),
    ],
)
def test_a_wrong_setting_is_answered_by_the_right_one(
    typed: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said in answer(typed, monkeypatch)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train photos", "train experiment=photographs data.root=photos"),
        ("train folder photos", "train data=folder data.root=photos"),
        ("train runs/one", "train resume=runs/one"),
        ("train resnet18 seed=2", "train arch=resnet18 seed=2"),
        ("train --data folder", "train data=folder"),
        ("train --data=folder seed=2", "train data=folder seed=2"),
        ("train -k 50", "train clustering.k=50"),
        ("train --learning-rate=0.1", "train optimizer.lr=0.1"),
        ("train help", "train --help"),
        ("train seed", "train seed=VALUE"),
        ("train -m photos seed=1,2", "train experiment=photographs -m data.root=photos seed=1,2"),
        ("eval runs/one", "eval ckpt=runs/one"),
        ("eval runs/none", "eval ckpt=runs/none"),
        ("eval knn ckpt=runs/one", "eval evaluation=knn ckpt=runs/one"),
    ],
)
def test_words_that_are_no_settings_are_answered_by_the_command_that_was_meant(
    typed: str, meant: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(typed, monkeypatch).endswith(f"settings are words KEY=VALUE; did you mean deepcluster {meant}?")


@pytest.mark.parametrize(
    ("typed", "ordered"),
    [
        ("seed=1,2 -m trainer.max_epochs=0", "-m seed=1,2 trainer.max_epochs=0"),
        ("seed=1 --cfg job arch=lenet --package arch", "--cfg job --package arch seed=1 arch=lenet"),
        ("seed=1 --info defaults data=folder -cd=mine", "--info defaults -cd=mine seed=1 data=folder"),
        ("seed=1 --info data=folder", "--info all seed=1 data=folder"),
        ("seed=1 --cfg", "--cfg seed=1"),
    ],
)
def test_flags_go_before_settings_with_the_word_that_belongs_to_them(typed: str, ordered: str) -> None:
    assert flags_first(typed.split()) == ordered.split()


@pytest.mark.parametrize(
    "typed",
    [
        "-m seed=1,2",
        "--cfg job --package clustering",
        "-c=job",
        "--info defaults",
        "-i",
        "--config-dir mine +a=b ~callbacks",
        "data.root=~/photos",
        "trainer.max_epochs=0 -r",
    ],
)
def test_flags_of_hydra_and_settings_are_left_to_it(typed: str) -> None:
    check_words(typed.split(), "train")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("data.root=photos", "did you mean data=folder"),
        ("trainer=gpu", "torch finds no such device on this machine"),
        ("evaluation.knn=false", "evaluation.knn is no value but has settings of its own: evaluation.knn.k, "),
        ("clustering=true", "clustering=true: clustering takes one of its options: kmeans, "),
        ("data=folder data.root=nowhere", "data.root=nowhere does not exist"),
        ("data=folder data.root=~nobody/photos", "does not exist"),
    ],
)
def test_a_refusal_leaves_no_folder_behind(typed: str, said: str, tmp_path: Path) -> None:
    write_photographs(tmp_path / "photos")
    done = Typist(tmp_path).train(*typed.split())
    assert done.status == 1 and said in done.err
    assert not list((tmp_path / "runs").glob("*"))


def test_an_extra_of_an_installed_wheel_is_told_by_its_packages() -> None:
    requirements = ["numpy>=1.26", "umap-learn>=0.5.6; extra == 'viz'", 'onnx>=1.16; extra == "onnx"']
    assert packages_command(requirements, "viz") == "pip install 'umap-learn>=0.5.6'"
    assert packages_command(requirements, "onnx") == "pip install 'onnx>=1.16'"


def test_an_error_of_a_resolver_is_told_without_what_omegaconf_adds() -> None:
    def in_use() -> str:
        raise ValueError("output_dir=runs/one is in use")

    OmegaConf.register_new_resolver("in_use", in_use)
    config = OmegaConf.structured(HydraConf)
    config.run.dir = "${in_use:}"
    with pytest.raises(OmegaConfBaseException, match="reference_type=RunDir") as refused:
        print(config.run.dir)
    OmegaConf.clear_resolver("in_use")
    assert message_for_user(refused.value) == "output_dir=runs/one is in use"
