"""Learn visual features without labels: Hydra composes the config, then one run trains and measures a network."""

from deepcluster.system import stop_signals

if __name__ == "__main__":
    stop_signals.end_quietly()  # before imports that take long: Ctrl-C ends without a traceback

# isort: split
import hydra
from omegaconf import DictConfig

from deepcluster.app.command_line import start
from deepcluster.app.hydra_setup import register

register()


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> float | None:
    """One run; returns the trained network's k-NN accuracy, for sweepers."""
    # loads torch, which takes seconds: --help and a mistyped key are answered without it
    from deepcluster.app.train_command import train_from_command_line

    return train_from_command_line(cfg)


if __name__ == "__main__":
    start(main, "train")
