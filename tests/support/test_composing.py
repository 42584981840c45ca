"""A config of files that were read before is the one that Hydra composes of files that it reads anew."""

from typing import Any

import pytest
from hydra import compose
from omegaconf import DictConfig, OmegaConf
from support import composing

QUESTIONS = [
    ("train", []),
    ("train", ["experiment=cifar10_swav", "optimizer=adamw", "clustering.k=7"]),
    ("train", ["experiment=deepdive_fmnist", "mode=official"]),
    ("train", ["method=sela", "+arch.dropout=0.3", "~logger"]),
    ("train", ["sweep=k_pca"]),
    ("train", ["arch=alexnet_small", "arch.channels=[4,8,8,8,8]", "trainer=ddp", "trainer.max_epochs=3"]),
    ("train", ["arch=alexnet_small", "hydra.sweep.dir=elsewhere", "+hydra.job.env_set.A=b"]),
    ("eval", ["ckpt=run", "evaluation=linear_probe", "data=folder", "data.root=images"]),
]


def described(composed: DictConfig) -> tuple[Any, dict[str, type]]:
    """All values, Hydra's own too, and the schema of each group."""
    types = {str(key): OmegaConf.get_type(composed, str(key)) for key in composed}
    return OmegaConf.to_container(composed, enum_to_str=True), types


@pytest.mark.usefixtures("composer")
def test_files_read_once_compose_as_files_read_anew() -> None:
    composing.read_configs_anew()
    anew = [described(compose(name, words, return_hydra_config=True)) for name, words in QUESTIONS]
    composing.read_configs_once()
    for _ in range(2):  # of what was read, and of what others have used since
        once = [described(compose(name, words, return_hydra_config=True)) for name, words in QUESTIONS]
        assert once == anew
