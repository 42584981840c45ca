"""evaluation=voc07_svm: VOC2007 by linear SVMs on frozen features, with all labels or few (Goyal et al. 2019).

lists.py reads the splits -> svm_features.py: features of the centre crop -> svm_tasks.py: an SVM for each class and
sample -> svm_report.py: means over classes and samples. Here are the settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.voc07.settings import LinearSvm, VocSet
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Voc07Svm(VocSet, Evaluator):
    """Measure how well a linear classifier separates each class of VOC2007 from the rest.

    Args:
        kind: "voc07_svm".
        stage: stage whose maps are used, averaged to at most 10,000 numbers; null: the last convolutional one;
            "features": what is clustered.
        shots: numbers of positives that an SVM is trained on, with (C - 1) times as many negatives; null: all images.
            Numbers for which the rarest class has too few images are left out, with a message.
        n_samples: how many samples of images are drawn for each number of shots, for mean and standard deviation.
        svm: the classifier.
    """

    kind: str = "voc07_svm"
    stage: str | None = None
    shots: list[int | None] = setting([1, 2, 4, 8, 16, 32, 64, 96, None], at_least=1)
    n_samples: int = setting(5, at_least=1)
    svm: LinearSvm = field(default_factory=LinearSvm)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shots:
            raise ValueError("evaluation.shots must name at least one number, or null, got []")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Train, test, and write voc07_svm.csv, a line per SVM. SVMs saved in the folder are not trained again.

        Returns:
            n_train, n_test; for all images map_RULE by the rules of average_precision.py (Goyal et al.: map_area);
            for each number N of shots map_area_shots_N_mean and, with several samples, map_area_shots_N_std (n - 1),
            and the same for map_11_point.

        Raises:
            FileNotFoundError, ValueError: if the folder, the network and the settings do not fit.
        """
        from deepcluster.evaluation.kept_work import KeptWork, facts_of
        from deepcluster.evaluation.voc07.lists import naming_damage, read_splits
        from deepcluster.evaluation.voc07.svm_features import unit_features
        from deepcluster.evaluation.voc07.svm_report import report_svms
        from deepcluster.evaluation.voc07.svm_tasks import SplitFeatures, learn_svms, plan_tasks

        if self.stage not in (None, "features"):
            context.backbone.check_stage(self.stage)
        train_split, test_split = read_splits(
            self.root, self.train_split, self.test_split, int(context.card["in_channels"])
        )
        tasks = plan_tasks(train_split, self.shots, self.n_samples, context.progress.say)
        facts = facts_of(
            context.backbone,
            card=context.card,
            train_split=train_split.name,
            test_split=test_split.name,
            n_train=len(train_split.images),
            n_test=len(test_split.images),
            seed=context.seed,
            evaluation={"stage": self.stage, "svm": self.svm},
        )
        kept_work = KeptWork(folder=context.folder, facts=facts, say=context.progress.say)

        def features() -> list[SplitFeatures]:
            with naming_damage(train_split.images):
                return [
                    SplitFeatures(unit_features(context, split.images, self.stage, self.num_workers), split)
                    for split in (train_split, test_split)
                ]

        results = learn_svms(
            tasks, features, self.svm, seed=context.seed, kept_work=kept_work, progress=context.progress
        )
        return {
            "n_train": len(train_split.images),
            "n_test": len(test_split.images),
            **report_svms(tasks, results, test_split, self.svm.max_iter, context.progress.say, context.folder),
        }
