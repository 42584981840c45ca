"""Settings of VOC2007: images, fine-tuning, SVMs. Imports nothing heavy."""

from dataclasses import dataclass

from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class VocSet:
    """Which images to train on and which to test on.

    Args:
        root: the folder VOCdevkit or VOCdevkit/VOC2007.
        train_split, test_split: train and val, or trainval and test; null: trainval and test if both have lists, else
            train and val.
        num_workers: processes (for whole pictures: threads) that decode images; null: one per core, at most 8.
    """

    root: str | None = setting(None, is_path=True)
    train_split: str | None = None
    test_split: str | None = None
    num_workers: int | None = setting(None, at_least=0, at_most=1024)


@dataclass(kw_only=True)
class FineTuning:
    """How the network is fine-tuned; the defaults are those of the 2018 code (original: eval_voc_classif.py, .sh).

    Args:
        mode: "fc6_8": train the linear layers, freeze the convolutions; "all": train everything.
        train_batchnorm: in fc6_8 also train scale and shift of the convolutions' BatchNorm (72.0 mAP with, 70.4
            without, says the original's README). In both modes its running mean and variance are used and not changed.
        n_iterations: number of batches in all.
        batch_size: images per batch.
        lr: learning rate of SGD.
        lr_halved_every: iterations after which it is halved.
        momentum: of SGD.
        weight_decay: L2 penalty.
        max_grad_norm: gradients are clipped to this norm.
        linear_std: standard deviation of the new weights of the network's linear layers (fc6, fc7).
        linear_bias: new biases of these layers and of the head.
        crop_scale: smallest and largest share of the image's area in a crop.
        crop_ratio: smallest and largest width / height of a crop.
        flip: flip a crop with probability 1/2.
        state_every: save voc07.state every so many iterations, and after the last one. A call with the same output_dir
            continues from it.
    """

    mode: str = setting("fc6_8", one_of=("fc6_8", "all"))
    train_batchnorm: bool = True
    n_iterations: int = setting(80_000, at_least=1)
    batch_size: int = setting(16, at_least=2)
    lr: float = setting(0.003, above=0)
    lr_halved_every: int = setting(5_000, at_least=1)
    momentum: float = setting(0.9, at_least=0, below=1)
    weight_decay: float = setting(1e-6, at_least=0, below=1)
    max_grad_norm: float = setting(10.0, above=0)
    linear_std: float = setting(0.01, above=0)
    linear_bias: float = 0.1
    crop_scale: list[float] = setting([0.1, 0.5], above=0, at_most=1)
    crop_ratio: list[float] = setting([1.0, 1.0], above=0)
    flip: bool = True
    state_every: int = setting(1_000, at_least=1)

    def __post_init__(self) -> None:
        check(self, "evaluation.training")
        for name, limits in (("crop_scale", self.crop_scale), ("crop_ratio", self.crop_ratio)):
            if len(limits) != 2 or limits[0] > limits[1]:
                raise ValueError(f"evaluation.training.{name} must be [smallest, largest], got {list(limits)}")

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        return self.lr * 0.5 ** (iteration // self.lr_halved_every)


@dataclass(kw_only=True)
class PictureTraining:
    """How a network learns from whole pictures, by SGD. They are mirrored with probability 1/2.

    Args:
        mode: "all": train everything; "fc6_8": freeze the convolutions that make the maps, train what reads them. In
            both modes BatchNorm's running mean and variance are used and not changed.
        n_iterations: number of batches in all.
        batch_size: pictures per batch.
        lr: learning rate.
        lr_drop_at: share of the iterations after which it is divided by 10; 1: never.
        momentum: of SGD.
        weight_decay: L2 penalty.
        max_grad_norm: gradients are clipped to this norm; null: not clipped.
        state_every: save the training's state every so many iterations, and after the last one. A call with the same
            output_dir continues from it.
    """

    mode: str = setting("all", one_of=("all", "fc6_8"))
    n_iterations: int = setting(1, at_least=1)
    batch_size: int = setting(1, at_least=1)
    lr: float = setting(0.001, above=0)
    lr_drop_at: float = setting(1.0, above=0, at_most=1)
    momentum: float = setting(0.9, at_least=0, below=1)
    weight_decay: float = setting(5e-4, at_least=0, below=1)
    max_grad_norm: float | None = setting(None, above=0)
    state_every: int = setting(1_000, at_least=1)

    def __post_init__(self) -> None:
        check(self, "evaluation.training")

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        return self.lr * (0.1 if iteration >= self.lr_drop_at * self.n_iterations else 1.0)


@dataclass(kw_only=True)
class DetectionTraining(PictureTraining):
    """As Fast R-CNN on VOC2007 (Girshick 2015): 40,000 batches of 2 pictures, .001, and .0001 after 30,000.

    Args:
        n_regions: regions of a picture that a step learns from (Fast R-CNN: 128 in two pictures).
    """

    n_iterations: int = setting(40_000, at_least=1)
    batch_size: int = setting(2, at_least=1)
    lr_drop_at: float = setting(0.75, above=0, at_most=1)
    n_regions: int = setting(64, at_least=1)


@dataclass(kw_only=True)
class SegmentationTraining(PictureTraining):
    """As the AlexNet of the FCN code (fcn.berkeleyvision.org, voc-fcn-alexnet/solver.prototxt)."""

    n_iterations: int = setting(100_000, at_least=1)
    batch_size: int = setting(20, at_least=1)
    lr: float = setting(1e-4, above=0)


@dataclass(kw_only=True)
class LinearSvm:
    """scikit-learn's LinearSVC (squared hinge, L2) on features of length 1, as in Goyal et al. 2019.

    Args:
        costs: values of C to choose from, by the average precision on held-out folds.
        n_folds: number of folds of the training images, each held out once (Goyal et al.: 3).
        few_cost: C if there are fewer positives than folds, so that none can be chosen.
        positive_weight: weight of a positive, relative to a negative (Goyal et al.: 2).
        max_iter: liblinear's largest number of iterations; an SVM that it stops is still used, and the number of such
            SVMs is printed.
    """

    costs: list[float] = setting([0.1, 1.0, 10.0, 100.0], above=0)
    n_folds: int = setting(3, at_least=2)
    few_cost: float = setting(1.0, above=0)
    positive_weight: float = setting(2.0, above=0)
    max_iter: int = setting(2000, at_least=1)

    def __post_init__(self) -> None:
        check(self, "evaluation.svm")
        if not self.costs:
            raise ValueError("evaluation.svm.costs must name at least one cost, got []")
