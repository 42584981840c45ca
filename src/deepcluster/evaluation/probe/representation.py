"""k-NN and linear-probe accuracy: what a run measures at its start and end, and evaluation=representation.

Here are the settings. Next: knn_and_probe.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.probe.recipes import Knn, LinearProbe
from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext

NMI_AVERAGES = ("arithmetic", "geometric")  # clustering/metrics.py has their formulas


@dataclass(kw_only=True)
class Evaluation:
    """What a run measures at its start and end. Labels are used for this and in the log, nowhere else.

    Args:
        enabled: measure; without labels, how near two crops of a picture are.
        untrained: also measure the untrained network, for comparison.
        baselines: also measure, at the end, what needs no training: pixels, and k-means codes of patches.
        max_images: use at most this many training images, drawn at random.
        test_share: share of the labelled images that is held out if no test set has labels.
        nmi_average: which mean of the two entropies NMI is divided by, wherever it is logged: "arithmetic", or
            "geometric" as in 2018.
        knn: settings of the k-NN vote.
        linear_probe: settings of the linear probe.
    """

    enabled: bool = True
    untrained: bool = True
    baselines: bool = True
    max_images: int = setting(50_000, at_least=10)
    test_share: float = setting(0.2, above=0, below=1)
    nmi_average: str = setting("arithmetic", one_of=NMI_AVERAGES)
    knn: Knn = field(default_factory=Knn)
    linear_probe: LinearProbe = field(default_factory=LinearProbe)

    def __post_init__(self) -> None:
        check(self, "evaluation")

    @property
    def measures_baselines(self) -> bool:
        """Whether pixels and patches are measured."""
        return self.enabled and self.baselines


@dataclass(kw_only=True)
class Representation(Evaluation, Evaluator):
    """The same measurement of a stored network: evaluation=representation of eval.py.

    Args:
        kind: "representation".
    """

    kind: str = "representation"

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure.

        Returns:
            n_images and what :func:`~deepcluster.evaluation.probe.knn_and_probe.measure_features` gives.

        Raises:
            ValueError: if there are too few labelled images, or only one class.
        """
        from deepcluster.evaluation.probe.knn_and_probe import measure_features
        from deepcluster.evaluation.probe.labelled_split import FEWEST, labelled_split

        train = context.train_images
        split = labelled_split(
            train,
            context.test_images,
            max_images=self.max_images,
            test_share=self.test_share,
            seed=context.seed,
            n_least=self.knn.k,
        )
        if split is None:
            raise ValueError(
                f"data={context.data.source} cannot be measured: labels of two classes and at least "
                f"{max(FEWEST, self.knn.k)} labelled training images are needed (evaluation.knn.k={self.knn.k}); "
                "evaluation=assign needs no labels"
            )
        numbers = measure_features(
            split,
            context.feature_pass,
            knn=self.knn,
            linear_probe=self.linear_probe,
            seed=context.seed,
            nmi_average=self.nmi_average,
        )
        for name in ("knn_accuracy", "linear_probe_accuracy"):
            context.progress.say(f"{name:24} {numbers[name]:.1%}")
        context.progress.say(f"{'nmi_classes':24} {numbers['nmi_classes']:.3f}")
        return {"n_images": len(train), **numbers}
