"""Watch a run: measure some crops every n epochs, say what looks wrong, stop a collapse. health.py has the sentences.

Numbers are measured at an epoch's start, when the clusters fit the network; report.py logs them at its end. Nothing
here draws from a random state that training uses.
"""

import copy
import logging
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from deepcluster.clustering.assignment import FEATURES, Assignment
from deepcluster.data.images import evenly_spaced
from deepcluster.data.loader import random_batches
from deepcluster.data.multi_crop import MultiCrop
from deepcluster.features.inference import inference_copy
from deepcluster.system import distributed
from deepcluster.system.seeding import mix
from deepcluster.training.health import (
    advice,
    collapse,
    effective_rank,
    knn_of_crops,
    loss_share,
    nearest_is_own,
    one_cluster,
)
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.monitor_settings import Monitor
from deepcluster.training.reassign import ReassignCallback

_log = logging.getLogger(__name__)
SLOW = 0.1  # share of optimizer.lr to which a schedule has fallen, from which the loss says nothing
FORMS = {  # number -> words and form, in the line on the screen
    "two_crop_agreement": ("two crops share a cluster", "{:.0%}"),
    "two_crop_nearest": ("two crops are nearest to each other", "{:.0%}"),
    "effective_rank": ("effective rank", "{:.1f}"),
    "knn_accuracy": ("k-NN of crops", "{:.0%}"),
    "prototypes_used": ("prototypes used", "{:.0%}"),
    "loss_share": ("loss / ln K", "{:.2f}"),
}


class HealthCheck(pl.Callback):
    """Measures, and on what it finds warns once of each kind, or stops the run.

    Args:
        settings: the group `monitor`.
        conductor: its clusters and images are looked at.
        batch_size: images in a batch of crops.
    """

    def __init__(self, settings: Monitor, conductor: ReassignCallback, *, batch_size: int) -> None:
        self.settings = settings
        self.conductor = conductor
        self.batch_size = batch_size
        self.untrained: dict[str, float] | None = None
        self.measured: dict[str, float] = {}
        self.epoch = -1  # of `measured`
        self._whole: dict[str, bool] = {}  # rows -> whether their first clusters were not one
        self._version = -1  # the last assignment that was looked at
        self._said: set[str] = set()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look before the first step of an epoch: Lightning skips the epoch's own hook after some resumes."""
        epoch = trainer.current_epoch
        if self.conductor.version != self._version:
            self._version = self.conductor.version
            self._stop_if(self._one_cluster(), epoch)
        begins = epoch == 0 and self.untrained is None and self._looks_later(trainer) and trainer.global_step == 0
        if batch_idx == 0 and self.epoch != epoch and (begins or self.due(epoch)):
            assert isinstance(pl_module, DeepClusterModule)
            module = pl_module
            self.measured = distributed.on_rank_zero("looking at crops", lambda: self._measure(module))
            self.epoch = epoch
            if begins:
                self.untrained = dict(self.measured)

    def due(self, epoch: int) -> bool:
        """Whether this epoch ends with a report."""
        n = self.settings.every_n_epochs
        return n is not None and (epoch + 1) % n == 0

    def report(self, trainer: pl.Trainer, module: DeepClusterModule, trained: dict[str, float]) -> dict[str, float]:
        """The numbers to log at this epoch's end, under health/; empty if it is none of the n-th.

        Args:
            trained: the epoch's loss and accuracy.
        """
        if not self.due(trainer.current_epoch) or self.epoch != trainer.current_epoch:
            return {}
        numbers = dict(self.measured)
        if "train/loss" in trained:  # not if a run was resumed after the epoch's last step
            numbers["loss_share"] = loss_share(trained["train/loss"], _n_clusters(module))
        return {f"health/{name}": value for name, value in numbers.items()}

    def decide(
        self, trainer: pl.Trainer, module: DeepClusterModule, logged: dict[str, float]
    ) -> tuple[str | None, dict[str, str]]:
        """The sentence with which the run stops, or None; and the advice of each kind.

        Args:
            logged: what :meth:`report` gave, and the epoch's loss and accuracy.
        """
        now = {name.removeprefix("health/"): value for name, value in logged.items() if name.startswith("health/")}
        now["accuracy"] = logged.get("train/accuracy", 1.0)
        if _rate(trainer) < SLOW * module.optimizer_settings.lr:
            now.pop("loss_share", None)  # a head that was drawn anew cannot learn at such a rate: nothing is wrong
        if self.conductor.needs_labels and self.conductor.assignment is not None:
            now |= _cluster_shares(self.conductor.assignment)
        k = _n_clusters(module)[0]
        told = advice(
            now,
            self.untrained,
            n_images=self._n_images,
            n_steps=trainer.global_step,
            k=k,
        )
        return collapse(now, self.untrained, k=k), told

    def tell(self, trainer: pl.Trainer, module: DeepClusterModule, logged: dict[str, float]) -> None:
        """Say the line of this epoch and what looks wrong.

        Raises:
            ValueError: if the network has collapsed.
        """
        if "health/effective_rank" not in logged:
            return
        self.conductor.clusterer.progress.say(f"  health   {health_line(logged, self.untrained)}")
        stop, told = self.decide(trainer, module, logged)
        for kind, sentence in told.items():
            self._warn(kind, sentence, trainer.current_epoch)
        self._stop_if(stop, trainer.current_epoch)

    @property
    def _n_images(self) -> int:
        return min(self.settings.n_images, len(self.conductor.clusterer.images))

    def _looks_later(self, trainer: pl.Trainer) -> bool:
        n, last = self.settings.every_n_epochs, trainer.max_epochs
        return n is not None and (last is None or last < 0 or last >= n)

    def _one_cluster(self) -> str | None:
        assignment = self.conductor.assignment
        if assignment is None or not self.conductor.needs_labels or not self.conductor.clusterer.clustering.k_is_fixed:
            return None  # PIC finds its own K, and its sizes differ much
        largest = _cluster_shares(assignment)["largest_share"]
        if self.conductor.version == 0 or assignment.space not in self._whole:
            self._whole[assignment.space] = one_cluster(largest, k=assignment.k, was_whole=True) is None
        return one_cluster(largest, k=assignment.k, was_whole=self._whole[assignment.space])

    def _measure(self, module: DeepClusterModule) -> dict[str, float]:
        """The numbers of the network as it is, by name; its state and all random states stay as they are."""
        conductor, images = self.conductor, self.conductor.clusterer.images
        indices = torch.tensor(evenly_spaced(len(images), self._n_images))
        first, second = self._features(module, indices, 0), self._features(module, indices, 1)
        numbers = {"effective_rank": effective_rank(first)}
        assignment = conductor.assignment
        by_cluster = self.untrained is None or "two_crop_agreement" in self.untrained  # the same in the whole run
        if by_cluster and conductor.needs_labels and assignment is not None and assignment.space == FEATURES:
            same = assignment.apply(first) == assignment.apply(second)
            numbers["two_crop_agreement"] = float(same.double().mean())
        else:
            numbers["two_crop_nearest"] = nearest_is_own(first, second)
        if conductor.labels is not None:
            accuracy = knn_of_crops(first, second, conductor.labels[indices])
            numbers |= {} if accuracy is None else {"knn_accuracy": accuracy}
        if not conductor.needs_labels:
            numbers["prototypes_used"] = _prototypes_used(module, torch.cat([first, second]))
        return numbers

    @torch.inference_mode()
    def _features(self, module: DeepClusterModule, indices: Tensor, number: int) -> Tensor:
        """The features (n, D) of one random crop of these images, on the CPU: the same crop in the whole run."""
        clusterer, device = self.conductor.clusterer, module.device
        network = inference_copy(module.backbone, dtype=clusterer.dtype, channels_last=True).to(device)
        view = MultiCrop(module.view.crops[:1], 1)
        seed, features = mix(self.conductor.seed, "health", number), []
        for batch in random_batches(clusterer.images, view, indices, self.batch_size, clusterer.num_workers, seed):
            crop = view(batch.images.to(device), batch.draws)[0]
            features.append(network(crop.contiguous(memory_format=torch.channels_last)).float().cpu())
        return torch.cat(features)

    def _warn(self, kind: str, sentence: str, epoch: int) -> None:
        if kind not in self._said and distributed.is_main_process():
            _log.warning("epoch %d: %s", epoch + 1, sentence)
        self._said.add(kind)

    def _stop_if(self, sentence: str | None, epoch: int) -> None:
        if sentence is not None and self.settings.stops:
            raise ValueError(f"epoch {epoch + 1}: {sentence}; monitor.stops=false goes on all the same")
        if sentence is not None:
            self._warn("collapse", sentence, epoch)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run compares with."""
        untrained = None if self.untrained is None else dict(self.untrained)
        return {
            "untrained": untrained,
            "measured": dict(self.measured),
            "epoch": self.epoch,
            "whole": dict(self._whole),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.untrained, self.measured = state_dict["untrained"], dict(state_dict["measured"])
        self.epoch, self._whole = state_dict["epoch"], dict(state_dict["whole"])


def health_line(logged: dict[str, float], untrained: dict[str, float] | None) -> str:
    """The numbers as one line, those of the untrained network in brackets."""
    parts = []
    for name, (words, form) in FORMS.items():
        if f"health/{name}" in logged:
            before = f" ({form.format(untrained[name])})" if untrained is not None and name in untrained else ""
            parts.append(f"{words} {form.format(logged[f'health/{name}'])}{before}")
    return ", ".join(parts)


def _cluster_shares(assignment: Assignment) -> dict[str, float]:
    sizes = assignment.sizes()
    dead = assignment.n_repaired + assignment.n_squeezed + assignment.n_unused
    return {
        "largest_share": sizes.max().item() / max(1, int(sizes.sum())),
        "dead_share": dead / (assignment.k + assignment.n_squeezed),
    }


def _rate(trainer: pl.Trainer) -> float:
    return max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)


@torch.no_grad()
def _n_clusters(module: DeepClusterModule) -> list[int]:
    """The number of scores of each labeling."""
    return [
        scores.shape[1] for scores in module.head.scores(torch.zeros(1, module.embedding_dim, device=module.device))
    ]


@torch.no_grad()
def _prototypes_used(module: DeepClusterModule, features: Tensor) -> float:
    """How many prototypes of the first labeling are any crop's (n, D) nearest, as a share of those that could be."""
    embedding = copy.deepcopy(module.embedding).eval()
    scores = module.head.scores(embedding(features.to(module.device)))[0]
    return len(torch.unique(scores.argmax(dim=1))) / min(scores.shape)
