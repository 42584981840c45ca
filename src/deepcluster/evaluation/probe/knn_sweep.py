"""evaluation=knn: k-NN accuracy for several k on the whole set. Next: knn.py, which counts the votes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class KnnSweep(Evaluator):
    """Classify each test image by the vote of its k nearest training images, by cosine, for several k.

    Without a labelled test set, a share of the training images is held out as test images.

    Args:
        kind: "knn".
        k: numbers of neighbours. Do not report the best of them on the test set; choose one beforehand (20 or 200).
        vote: "weighted": each neighbour weighs exp(cosine / temperature); "majority": each weighs 1.
        temperature: of the weighted vote; 0.07 is from Wu et al. 2018 (NPID).
        layer: "last_stage": the last convolutional stage after its pooling, flattened, as in training's table and the
            Deep Dive paper; "features": what is clustered.
        max_images: use at most this many training images, drawn by the seed; null: all.
        test_share: share of the labelled images that is held out if no test set has labels.
    """

    kind: str = "knn"
    k: list[int] = setting([1, 5, 10, 20, 50, 100, 200], at_least=1)
    vote: str = setting("weighted", one_of=("weighted", "majority"))
    temperature: float = setting(0.07, above=0)
    layer: str = setting("last_stage", one_of=("last_stage", "features"))
    max_images: int | None = None
    test_share: float = setting(0.2, above=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.k:
            raise ValueError("evaluation.k must name at least one number of neighbours, got []")
        if self.max_images is not None and self.max_images < max(10, *self.k):
            raise ValueError(
                f"evaluation.max_images must be at least 10 and the largest k, {max(self.k)} (or null: all), "
                f"got {self.max_images}"
            )

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure.

        Returns:
            n_train and n_test, numbers of images; knn_accuracy_k20 ... (for the majority vote
            knn_majority_accuracy_k20 ...), the share of test images classified correctly, in [0, 1].

        Raises:
            ValueError: if the labels do not have two classes, or there are fewer labelled training images than k.
        """
        from deepcluster.evaluation.probe.knn import knn_accuracies
        from deepcluster.evaluation.probe.labelled_split import split_to_probe
        from deepcluster.features.extraction import collect

        split = split_to_probe(context, max_images=self.max_images, test_share=self.test_share)
        n_train, n_test = len(split.train_indices), len(split.test_indices)
        if n_train < max(self.k):  # before features are computed
            raise ValueError(
                f"evaluation.k={max(self.k)} needs that many labelled training images, there are {n_train}; lower it"
            )
        train_pass, test_pass = (
            context.feature_pass(images, convolutional=self.layer == "last_stage")
            for images in (split.train, split.test)
        )
        with context.progress.bar("features", n_train + n_test, "img") as advance:
            train_x = collect(train_pass, split.train_indices, advance)
            test_x = collect(test_pass, split.test_indices, advance)
        temperature = self.temperature if self.vote == "weighted" else None
        with context.progress.bar("neighbours", n_test, "img") as advance:
            accuracies = knn_accuracies(
                train_x,
                split.train_y,
                test_x,
                split.test_y,
                self.k,
                temperature=temperature,
                key="evaluation.k",
                progress=advance,
            )
        context.progress.say(f"{self.vote} vote of the k nearest of {n_train:,} images, {n_test:,} test images")
        for k, accuracy in accuracies.items():
            context.progress.say(f"  k = {k:<5} {accuracy:.1%}")
        name = "knn_accuracy" if self.vote == "weighted" else "knn_majority_accuracy"
        return {"n_train": n_train, "n_test": n_test} | {f"{name}_k{k}": value for k, value in accuracies.items()}
