"""What `python train.py` runs where no word says what, and that all else stands on train.yaml as it is."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support.configs import CONFIGS
from support.typed import Typist

from deepcluster.app.default_experiment import DEFAULT, TOLD, default_experiment
from deepcluster.app.hydra_setup import register


@pytest.fixture
def typist(tmp_path: Path) -> Typist:
    return Typist(tmp_path)


def composed(*words: str) -> Any:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_container(compose("train", [word for word in words if not word.startswith("-")]))


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["seed=2"],
        ["-m", "seed=1,2,3"],
        ["clustering.k=20", "arch=lenet"],
        ["~logger"],
        ["data.limit=200"],
        ["--config-dir", "mine"],
    ],
    ids=str,
)
def test_a_command_that_names_none_runs_the_recipe(typed: list[str]) -> None:
    assert default_experiment(typed) == [f"experiment={DEFAULT}"]


@pytest.mark.parametrize(
    "typed",
    [
        ["experiment=photographs", "seed=2"],
        ["method=deepcluster"],
        ["-m", "mode=correct,official"],
        ["data=cifar10"],
        ["~experiment"],
        ["sweep=k_pca"],
        ["resume=runs/one"],
        ["follows=runs/one", "data.root=photos"],
        ["--config-name", "mine"],
        ["--config-name=mine"],
    ],
    ids=str,
)
def test_a_command_that_says_what_it_runs_is_left_as_it_is(typed: list[str]) -> None:
    assert default_experiment(typed) == []


def test_what_is_typed_overrules_the_recipe() -> None:
    typed = ["arch=lenet", "trainer.max_epochs=3"]
    with_default = composed(*typed, *default_experiment(typed))
    assert with_default == composed("experiment=small_images", *typed)
    assert with_default["arch"] == composed("method=deepcluster")["arch"]
    assert with_default["optimizer"] == composed("experiment=small_images")["optimizer"]


def test_the_method_of_2018_is_what_train_yaml_lists() -> None:
    assert composed("method=deepcluster") == composed()


@pytest.mark.parametrize(
    "typed",
    ["clustering=pic", "clustering=pic_official", "sampler=official", "targets=co_teaching"],
)
def test_words_that_only_the_loop_of_2018_takes_are_refused_with_the_way_to_it(typed: str, typist: Typist) -> None:
    done = typist.train(typed)
    assert done.status == 1 and len(done.errors) == 1, done.err
    assert done.errors[0].endswith("the loop of 2018 takes your words: method=deepcluster in its place")
    k = [] if "pic" in typed else ["clustering.k=5"]
    done = typist.train(typed, "method=deepcluster", "estimate=true", "data.limit=80", "reduction.dim=8", *k)
    assert done.status == 0, done.err


def test_words_that_it_does_not_take_either_are_refused_without(typist: Typist) -> None:
    done = typist.train("rows=scores")
    assert "set rows=features, or clustering=sinkhorn" in done.errors[0] and "2018" not in done.errors[0]


def test_a_run_says_so_and_a_question_does_not(typist: Typist) -> None:
    small = ["trainer.max_epochs=0", "data.limit=80", "clustering.k=5", "reduction.dim=8", "evaluation.enabled=false"]
    done = typist.train(*small, "output_dir=default")
    assert done.status == 0 and done.out.startswith(f"{TOLD}\nimages"), done.err
    assert "SmallVGG" in done.out
    config = typist.train("--cfg", "job")
    assert TOLD not in config.out and "deepcluster.models.vgg_small" in config.out
    done = typist.train("resume=default")
    assert done.status == 0 and TOLD not in done.out and "SmallVGG" in done.out, done.err
    done = typist.train(*small, "method=deepcluster", "output_dir=2018")
    assert done.status == 0 and TOLD not in done.out and "LeNet5" in done.out, done.err
