"""The settings of a run that follows another, where they are not the old run's."""

from pathlib import Path

import pytest
from hydra import compose

from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.settings.stored import write_config
from deepcluster.settings.train import TrainConfig, train_config

pytestmark = pytest.mark.usefixtures("composer")


def following(folder: Path, before: list[str], typed: list[str]) -> TrainConfig:
    """Of a run with the settings `before`."""
    write_config(train_config(compose("train", before)), folder)
    words = [f"follows={folder}", *typed]
    return new_or_resumed_config(compose("train", words), words)


@pytest.mark.parametrize(
    ("before", "typed", "rate", "warmup"),
    [
        (["optimizer=adamw", "optimizer.lr=2e-3"], [], 2e-4, 0.5),
        (["optimizer=adamw", "optimizer.lr=2e-3", "optimizer.warmup_epochs=0.5"], [], 2e-3, 0.5),  # it followed one
        (["optimizer=adamw", "optimizer.lr=2e-3"], ["optimizer.lr=1e-3"], 1e-3, 0.5),
        (["optimizer=sgd", "optimizer.lr=0.03"], [], 0.03, 0.0),  # whose rate does not fall
    ],
)
def test_the_rate_is_a_tenth_where_it_had_fallen(
    before: list[str], typed: list[str], rate: float, warmup: float, tmp_path: Path
) -> None:
    optimizer = following(tmp_path / "run", before, typed).optimizer
    assert (optimizer.lr, optimizer.warmup_epochs) == (pytest.approx(rate), warmup)
