"""k-NN accuracy for several k on the whole set: evaluation=knn of eval.py. The votes are counted in knn.py."""

from dataclasses import dataclass, field

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.probe.knn import Knn, knn_accuracies
from deepcluster.evaluation.probe.representation import Evaluation, labelled_split
from deepcluster.features.extraction import collect

LAYERS = ("last_stage", "features")
VOTES = ("weighted", "majority")


@dataclass(kw_only=True)
class KnnSweep(Evaluator):
    """Vote of the k nearest training images by cosine, for several k.

    Without a labelled test set a share of the training images is held out and tested on.

    Args:
        kind: "knn".
        k: numbers of neighbours. The best of them on the test set is no fair figure: name one beforehand (20 or 200).
        vote: "weighted": each neighbour weighs exp(cosine / temperature); "majority": each weighs 1.
        temperature: of the weighted vote; 0.07 is Wu et al. 2018's (NPID).
        layer: "last_stage": the last convolutional stage, after its pooling, flattened, as in training's table and the
            Deep Dive paper; "features": what is clustered.
        max_images: at most so many training images, drawn by the seed; null: all.
        test_share: where there is no labelled test set, this share of the labelled images is held out.
    """

    kind: str = "knn"
    k: list[int] = field(default_factory=lambda: [1, 5, 10, 20, 50, 100, 200])
    vote: str = "weighted"
    temperature: float = 0.07
    layer: str = "last_stage"
    max_images: int | None = None
    test_share: float = 0.2

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1:
            raise ValueError(f"evaluation.k must list numbers of neighbours of at least 1, got {list(self.k)}")
        if self.vote not in VOTES:
            raise ValueError(f"evaluation.vote must be one of {', '.join(VOTES)}, got {self.vote}")
        if self.layer not in LAYERS:
            raise ValueError(f"evaluation.layer must be one of {', '.join(LAYERS)}, got {self.layer}")
        if self.temperature <= 0:
            raise ValueError(f"evaluation.temperature must be above 0, got {self.temperature}")
        if self.max_images is not None and self.max_images < max(10, *self.k):
            raise ValueError(
                f"evaluation.max_images must be at least 10 and the largest k, {max(self.k)} (or null: all), "
                f"got {self.max_images}"
            )
        if not 0 < self.test_share < 1:
            raise ValueError(f"evaluation.test_share must be between 0 and 1, got {self.test_share}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure.

        Returns:
            n_train and n_test, the images; knn_accuracy_k20 ... (of the majority vote knn_majority_accuracy_k20 ...):
            the share of the test images that the vote gets right, in [0, 1].

        Raises:
            ValueError: if there are no labels of two classes, or fewer labelled training images than k.
        """
        train = context.train_images
        n_labelled = 0 if train.labels is None else int((train.labels >= 0).sum())
        split = labelled_split(
            train,
            context.test_images,
            Evaluation(max_images=self.max_images or max(10, len(train)), test_share=self.test_share, knn=Knn(k=1)),
            seed=context.seed,
        )
        if split is None:
            raise ValueError(
                f"data={context.data.source} cannot be measured: that needs at least 10 labelled training images of "
                f"two classes, there are {n_labelled} labelled; evaluation=assign needs none"
            )
        if len(split.train_indices) < max(self.k):
            raise ValueError(
                f"evaluation.k={max(self.k)} needs that many labelled training images, there are "
                f"{len(split.train_indices)}; lower it"
            )
        assert split.train.labels is not None and split.test.labels is not None
        convolutional = self.layer == "last_stage"
        n_train, n_test = len(split.train_indices), len(split.test_indices)
        with context.progress.bar("features", n_train + n_test, "img") as advance:
            train_x = collect(context.source(split.train, convolutional=convolutional), split.train_indices, advance)
            test_x = collect(context.source(split.test, convolutional=convolutional), split.test_indices, advance)
        with context.progress.bar("neighbours", n_test, "img") as advance:
            found = knn_accuracies(
                train_x,
                split.train.labels[split.train_indices],
                test_x,
                split.test.labels[split.test_indices],
                self.k,
                temperature=self.temperature if self.vote == "weighted" else None,
                key="evaluation.k",
                progress=advance,
            )
        name = "knn_accuracy" if self.vote == "weighted" else "knn_majority_accuracy"
        context.progress.say(f"{self.vote} vote of the k nearest of {n_train:,} images, {n_test:,} test images")
        for k, accuracy in found.items():
            context.progress.say(f"  k = {k:<5} {accuracy:.1%}")
        return {"n_train": n_train, "n_test": n_test} | {f"{name}_k{k}": value for k, value in found.items()}
