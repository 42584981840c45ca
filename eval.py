"""Measure a trained network, or assign images to its clusters. Compose the config, do it, say where the results are."""

import hydra
from omegaconf import DictConfig

from deepcluster.app import command_line

command_line.register()


@hydra.main(config_path="configs", config_name="eval", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """One evaluation of one checkpoint."""
    from deepcluster.app.eval_command import measure  # loads torch, as in train.py

    measure(cfg)


if __name__ == "__main__":
    command_line.start(main)
