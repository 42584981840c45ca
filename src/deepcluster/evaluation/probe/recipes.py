"""Settings of the probes: k-NN vote, fast linear probe, 2018 linear probe. Imports nothing heavy."""

import math
from dataclasses import dataclass

from deepcluster.system.setting import check, setting

CROP = (256, 224)  # original: crops of 224 pixels from squares of 256


@dataclass(kw_only=True)
class Knn:
    """Vote of the k nearest training images by cosine, each weighing exp(cosine / temperature).

    Args:
        k: number of neighbours that vote.
        temperature: the smaller it is, the more the nearest neighbours count; 0.07 is from Wu et al. 2018 (NPID).
    """

    k: int = setting(20, at_least=1)
    temperature: float = setting(0.07, above=0)

    def __post_init__(self) -> None:
        check(self, "evaluation.knn")


@dataclass(kw_only=True)
class LinearProbe:
    """Softmax regression on standardised features; the learning rate is chosen without the test set.

    The 2018 probe reported the best epoch *on the test set* and used one hand-picked rate per layer. Here all rates are
    trained on a part of the training set and compared on the rest. A probe with the best rate is then trained on the
    whole training set and tested once, after the last epoch.

    Args:
        epochs: passes over the training features.
        batch_size: images per step.
        learning_rates: rates to choose from; each falls to 0 along a cosine. A single rate is used as it is, without
            the first training.
        weight_decay: L2 penalty on the weights; the 2018 probe's default.
        held_out: share of the training set on which the rates are compared.
    """

    epochs: int = setting(20, at_least=1)
    batch_size: int = setting(256, at_least=1)
    learning_rates: list[float] = setting([0.001, 0.003, 0.01, 0.03, 0.1], above=0)
    weight_decay: float = setting(1e-4, at_least=0)
    held_out: float = setting(0.1, above=0, below=1)

    def __post_init__(self) -> None:
        check(self, "evaluation.linear_probe")
        if not self.learning_rates:
            raise ValueError("evaluation.linear_probe.learning_rates must name at least one rate, got []")


@dataclass(kw_only=True)
class OriginalProbe:
    """The 2018 recipe (original: eval_linear.py), with its defaults.

    The rate at step t is lr / sqrt(1 + lr * weight_decay * t) (Bottou). The paper uses a different lr for each stage.

    Args:
        epochs: passes over the training images.
        batch_size: images per step.
        lr: learning rate at the start; the paper's for conv3: 0.01.
        weight_decay: L2 penalty; the script for the paper's results has 1e-7, the code's default is 1e-4.
        resize: short side of an image, in pixels, before crops of the network's size are cut; null: the network's
            own `resize` if it is larger than the crops, else 8/7 of their size, as 256 is of 224.
        flip: mirror every second training image; null: as view.flip says.
        ten_crops: test on ten crops, averaging their softmax, instead of the central crop.
        test_each_epoch: test after each epoch and also report the best one, which is the 2018 result.
    """

    epochs: int = setting(90, at_least=1)
    batch_size: int = setting(256, at_least=1)
    lr: float = setting(0.01, above=0)
    weight_decay: float = setting(1e-4, at_least=0)
    resize: int | None = None
    flip: bool | None = None
    ten_crops: bool = False
    test_each_epoch: bool = True

    def __post_init__(self) -> None:
        check(self, "evaluation.original")

    def side(self, size: int, resize: int | None) -> int:
        """Short side of images in pixels before crops of `size` are cut; `resize` is the network's own.

        Raises:
            ValueError: if the setting is smaller than the crops.
        """
        if self.resize is not None and self.resize < size:
            raise ValueError(
                f"evaluation.original.resize={self.resize} is smaller than the network's images of {size} pixels; "
                "raise it"
            )
        if self.resize is not None:
            return self.resize
        return resize if resize is not None and resize > size else round(size * CROP[0] / CROP[1])

    def rate(self, initial: float, step: int) -> float:
        """The learning rate at a step, counted from 0."""
        return initial / math.sqrt(1 + initial * self.weight_decay * step)
