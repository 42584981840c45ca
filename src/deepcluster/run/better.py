"""The network that a run ends with: the trained one or, with keep=better, its start where that is better."""

from pathlib import Path

from deepcluster.run.gain import Figures, start_is_better
from deepcluster.run.parts import Parts
from deepcluster.run.untrained import measures_untrained
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.atomic import write_atomically
from deepcluster.weights.checkpoint import backbone_checkpoint, load_checkpoint

START = "checkpoints/start.ckpt"  # in the run's folder


def tell_uncompared(config: TrainConfig) -> str | None:
    """A line where keep=better has nothing to compare, as the start is not measured; None where it has."""
    evaluation, max_epochs = config.evaluation, config.trainer["max_epochs"]
    if config.keep != "better" or max_epochs == 0 or measures_untrained(evaluation, max_epochs):
        return None
    key = "untrained" if evaluation.enabled else "enabled"
    return f"keep       the trained network: evaluation.{key}=false leaves keep=better no start to compare it with"


def store_start(config: TrainConfig, folder: Path, parts: Parts) -> None:
    """Keep the weights as they are before the first step, if the run may end with them."""
    if config.keep == "better":
        write_atomically(folder / START, backbone_checkpoint(parts.backbone, parts.card, epochs=0, extra={}))


def go_back(config: TrainConfig, folder: Path, parts: Parts, *, untrained: Figures, trained: Figures) -> bool:
    """Give the network the weights of its start if keep=better and these are better; a collective call.

    Args:
        parts: of the run; the backbone is changed in place.
        untrained, trained: figures of the start and of the trained network; only the main process needs them.

    Returns:
        Whether the network is as it started.
    """
    if config.keep != "better":
        return False
    file = folder / START
    goes_back = distributed.on_rank_zero(
        "choice of the network", lambda: file.is_file() and start_is_better(untrained, trained)
    )
    if goes_back:
        parts.backbone.load_state_dict(load_checkpoint(file).backbone)
        parts.progress.say("training made the network worse: going back to its start")
    return goes_back
