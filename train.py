"""Learn visual features without labels. Compose the config, do the run, say where the results are."""

import hydra
from omegaconf import DictConfig

from deepcluster.app import command_line

command_line.register()


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> float | None:
    """One run; returns the trained network's k-NN accuracy, for sweepers."""
    from deepcluster.app.train_command import train  # loads torch: seconds that --help and a mistyped key do not wait

    return train(cfg)


if __name__ == "__main__":
    command_line.start(main)
