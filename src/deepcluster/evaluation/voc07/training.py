"""Fine-tuning on VOC2007: a network, a new head, a count of iterations. Next: voc07.py, which tests the result.

The weights after an iteration are a function of the seed and its number: batches, crops and dropout are drawn from
these, so that training stopped and continued is training not stopped, bit for bit on a CPU.
"""

import copy
import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.data.loader import Batch, EpochLoader
from deepcluster.data.views import TrainView
from deepcluster.evaluation.context import Teller
from deepcluster.evaluation.voc07.lists import VocSplit
from deepcluster.features.digest import weights_digest
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import generator, mix
from deepcluster.weights import checkpoint

MODES = ("fc6_8", "all")


@dataclass(kw_only=True)
class FineTuning:
    """How the network is fine-tuned; the defaults are those of the 2018 code (original: eval_voc_classif.py, .sh).

    Args:
        mode: "fc6_8": the convolutions stay as they are, the linear layers are learned; "all": everything is.
        train_batchnorm: in fc6_8 also learn scale and shift of the convolutions' BatchNorm (72.0 mAP with, 70.4
            without, by the original's README). The running mean and variance are used and kept in either mode.
        n_iterations: batches in all.
        batch_size: images per batch.
        lr: learning rate of SGD.
        lr_halved_every: iterations after which it is halved.
        momentum: of SGD.
        weight_decay: L2 penalty.
        max_grad_norm: the gradient's length is cut to this.
        linear_std: standard deviation of the fresh weights of the network's linear layers (fc6, fc7).
        linear_bias: their biases, and the new head's.
        crop_scale: smallest and largest share of the image's area in a crop.
        crop_ratio: smallest and largest width / height of a crop.
        flip: flip every second crop.
        state_every: iterations between two writings of voc07_state.pt, from which a call with the same output_dir
            goes on; the last iteration is always written.
    """

    mode: str = "fc6_8"
    train_batchnorm: bool = True
    n_iterations: int = 80_000
    batch_size: int = 16
    lr: float = 0.003
    lr_halved_every: int = 5_000
    momentum: float = 0.9
    weight_decay: float = 1e-6
    max_grad_norm: float = 10.0
    linear_std: float = 0.01
    linear_bias: float = 0.1
    crop_scale: list[float] = field(default_factory=lambda: [0.1, 0.5])
    crop_ratio: list[float] = field(default_factory=lambda: [1.0, 1.0])
    flip: bool = True
    state_every: int = 1_000

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"evaluation.training.mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        for name, least in (("n_iterations", 1), ("batch_size", 2), ("lr_halved_every", 1), ("state_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"evaluation.training.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("lr", "max_grad_norm", "linear_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"evaluation.training.{name} must be above 0, got {getattr(self, name)}")
        for name in ("momentum", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"evaluation.training.{name} must be in [0, 1), got {getattr(self, name)}")
        for name, value, largest in (
            ("crop_scale", self.crop_scale, 1.0),
            ("crop_ratio", self.crop_ratio, float("inf")),
        ):
            if len(value) != 2 or not 0 < value[0] <= value[1] <= largest:
                limit = " of at most 1" if largest == 1 else ""
                raise ValueError(
                    f"evaluation.training.{name} must be [smallest, largest], above 0{limit}, got {list(value)}"
                )

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, from 0."""
        return self.lr * 0.5 ** (iteration // self.lr_halved_every)


class Classifier(nn.Module):
    """A backbone and a new linear layer of C logits; linear layers in the backbone's neck start afresh.

    As everywhere the features come before their ReLU where the neck ends in a linear layer, so the head applies it.
    Those of a ResNet and the like are taken as they come.

    Args:
        backbone: is copied.
        n_classes: C.
        settings: which weights are learned, and how new ones are drawn.
        seed: of the new weights.
    """

    def __init__(self, backbone: Backbone, n_classes: int, settings: FineTuning, *, seed: int) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        linears = [module for module in self.backbone.neck.modules() if isinstance(module, nn.Linear)]
        self.with_relu = bool(linears)
        random = generator(seed, "voc07", "weights")
        for layer in linears:
            layer.weight.data.normal_(0.0, settings.linear_std, generator=random)
            nn.init.constant_(layer.bias, settings.linear_bias)
        # torch's own law for a linear layer (original: nn.Linear as it comes), drawn from our generator
        self.head = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Linear, self.backbone.feature_dim, n_classes
        )
        limit = self.backbone.feature_dim**-0.5
        self.head.weight.data.uniform_(-limit, limit, generator=random)
        nn.init.constant_(self.head.bias, settings.linear_bias)
        self.requires_grad_(True)
        if settings.mode == "fc6_8":
            self.backbone.features.requires_grad_(False)
            for module in self.backbone.features.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.requires_grad_(settings.train_batchnorm)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, C, H, W)."""
        features: Tensor = self.backbone(images)
        return self.head(F.relu(features) if self.with_relu else features)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "Classifier":
        """Dropout acts, but the features' BatchNorm keeps its running statistics, as in the original."""
        super().train(mode)
        self.backbone.features.eval()
        return self


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over the classes, mean over the images; labels (B, C) of -1 do not count."""
    known = labels >= 0
    losses = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits.dtype), reduction="none")
    return (losses * known).sum() / len(logits)


def fine_tune(
    backbone: Backbone,
    split: VocSplit,
    view: TrainView,
    settings: FineTuning,
    *,
    folder: Path,
    seed: int,
    num_workers: int,
    device: torch.device,
    progress: Teller,
) -> Classifier:
    """Train a classifier, from the start or from the folder's voc07_state.pt.

    Raises:
        ValueError: if the state in the folder is another training's, or the loss is not finite.
    """
    file = folder / "voc07_state.pt"
    model = Classifier(backbone, len(split.classes), settings, seed=seed).to(device)
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(learned, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    identity = _identity(backbone, split, settings, seed)
    done = _resume(file, identity, model, optimizer, settings.n_iterations)
    if done:
        progress.say(f"going on after iteration {done:,} of {settings.n_iterations:,} from {file}")
    labels = split.labels.to(device)
    model.train()
    loss_sum, n_summed = torch.zeros((), device=device), 0
    cuda = [device] if device.type == "cuda" else []
    with progress.bar("fine-tune", settings.n_iterations, "it") as advance, torch.random.fork_rng(cuda):
        advance(done)
        for batch in _batches(split, view, settings, start=done, seed=seed, num_workers=num_workers):
            torch.manual_seed(mix(seed, "dropout", done))
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(done)
            images = view(batch.images.to(device, non_blocking=True), batch.draws)
            loss = masked_loss(model(images), labels[batch.indices.to(device)])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learned, settings.max_grad_norm)
            optimizer.step()
            loss_sum += loss.detach()
            done, n_summed = done + 1, n_summed + 1
            if done % settings.state_every == 0 or done == settings.n_iterations:
                _tell(float(loss_sum) / n_summed, done, settings, progress)
                loss_sum.zero_()
                n_summed = 0
                _write(file, {"identity": identity, "iteration": done}, model, optimizer)
            advance(1)
    return model.eval()


def _batches(
    split: VocSplit, view: TrainView, settings: FineTuning, *, start: int, seed: int, num_workers: int
) -> Iterator[Batch]:
    """The batches of iterations start, start + 1, ... to the last, through as many epochs as it takes.

    Each epoch has its own order; the original shuffles once and shows that order in every epoch.
    """
    n = len(split.images)
    epoch = 0

    def order() -> tuple[int, Tensor]:
        return epoch, torch.randperm(n, generator=generator(seed, "order", epoch))

    loader = EpochLoader(
        split.images,
        view,
        batch_size=settings.batch_size,
        num_workers=num_workers,
        persistent_workers=True,
        seed=seed,
        n_per_epoch=n,
        before_epoch=order,
    )
    epoch, within = divmod(start, len(loader))
    loader.load_state_dict({"epoch": epoch, "batches_done": within})
    left = settings.n_iterations - start
    try:
        while left > 0:
            for batch in loader:
                yield batch
                left -= 1
                if left == 0:
                    break
            epoch += 1
    finally:
        loader.close()


def _tell(loss: float, done: int, settings: FineTuning, progress: Teller) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"the loss is {loss} near iteration {done:,}: training has diverged; lower evaluation.training.lr="
            f"{settings.lr:g}"
        )
    progress.say(f"iteration {done:>6,}  loss {loss:.3f}  lr {settings.rate(done - 1):.2g}")


def _identity(backbone: Backbone, split: VocSplit, settings: FineTuning, seed: int) -> dict[str, Any]:
    """What a training is: all that decides its weights, but for how far it goes and how often it is written."""
    fixed = {name: value for name, value in vars(settings).items() if name not in ("n_iterations", "state_every")}
    values = {name: list(value) if isinstance(value, tuple | list) else value for name, value in fixed.items()}
    images = hashlib.blake2b("\n".join(split.images.samples).encode(), digest_size=8).hexdigest()
    return {"network": weights_digest(backbone), "train_split": split.name, "images": images, "seed": seed, **values}


def _resume(
    file: Path, identity: dict[str, Any], model: Classifier, optimizer: torch.optim.Optimizer, n_iterations: int
) -> int:
    """Load the state if there is one; how many iterations it has behind it."""
    if not file.is_file():
        return 0
    state = checkpoint.read_torch_file(file)
    differ = [name for name in identity if state["identity"].get(name) != identity[name]]
    if differ:
        name = differ[0]
        raise ValueError(
            f"{file} is the state of another training: its {name} is {state['identity'].get(name)}, this one's is "
            f"{identity[name]}; choose another output_dir, or repeat the call that made it"
        )
    done = int(state["iteration"])
    if done > n_iterations:
        raise ValueError(
            f"{file} has {done:,} iterations behind it, evaluation.training.n_iterations={n_iterations:,} is less; "
            "raise it or choose another output_dir"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return done


def _write(file: Path, state: dict[str, Any], model: Classifier, optimizer: torch.optim.Optimizer) -> None:
    content = io.BytesIO()
    torch.save({**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, content)
    write_atomically(file, content.getbuffer())
