"""How good are the features? What a run measures at its start and end, and evaluation=representation. Work: measure.py.

run/train.py asks it of the untrained and of the trained network, eval.py of any.
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
    """What is measured at the start and at the end of a run. Labels are used here and in the log, nowhere else.

    Args:
        enabled: measure at all; without labels nothing can be measured and nothing is.
        untrained: also measure the untrained network, to compare with.
        max_images: at most so many training images for probe and neighbours, drawn at random.
        test_share: where there is no test set, this share of the labelled images is held out from the probe.
        nmi_average: by which mean of the two entropies NMI divides, wherever it is logged: "arithmetic", or
            "geometric" as in 2018.
        knn: the neighbours' settings.
        linear_probe: the probe's settings.
    """

    enabled: bool = True
    untrained: bool = True
    max_images: int = setting(50_000, at_least=10)
    test_share: float = setting(0.2, above=0, below=1)
    nmi_average: str = setting("arithmetic", one_of=NMI_AVERAGES)
    knn: Knn = field(default_factory=Knn)
    linear_probe: LinearProbe = field(default_factory=LinearProbe)

    def __post_init__(self) -> None:
        check(self, "evaluation")


@dataclass(kw_only=True)
class Representation(Evaluation, Evaluator):
    """The same of a stored network: evaluation=representation of eval.py.

    Args:
        kind: "representation".
    """

    kind: str = "representation"

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure.

        Returns:
            n_images and what :func:`measure` gives.

        Raises:
            ValueError: if there are no labels.
        """
        from deepcluster.evaluation.probe.labelled_split import labelled_split
        from deepcluster.evaluation.probe.measure import measure

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
                f"data={context.data.source} cannot be measured: that needs labels of two classes and "
                f"evaluation.knn.k={self.knn.k} labelled training images; evaluation=assign needs none"
            )
        numbers = measure(split, context.source, knn=self.knn, linear_probe=self.linear_probe, seed=context.seed)
        for name in ("knn_accuracy", "linear_probe_accuracy"):
            context.progress.say(f"{name:24} {numbers[name]:.1%}")
        return {"n_images": len(train), **numbers}
