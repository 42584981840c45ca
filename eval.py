"""Measure a trained network, or assign images to its clusters: Hydra composes the config, then one evaluation runs."""

from deepcluster.system import stop_signals

if __name__ == "__main__":
    stop_signals.end_quietly()  # before imports that take long: Ctrl-C ends without a traceback

# isort: split
import hydra
from omegaconf import DictConfig

from deepcluster.app.command_line import start
from deepcluster.app.hydra_setup import register

register()


@hydra.main(config_path="configs", config_name="eval", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """One evaluation of one checkpoint."""
    from deepcluster.app.eval_command import evaluate_from_command_line  # loads torch, as in train.py

    evaluate_from_command_line(cfg)


if __name__ == "__main__":
    start(main, "eval")
