"""VOC2007 by linear SVMs on frozen features, with all labels or a few (Goyal et al. 2019): evaluation=voc07_svm.

lists.py reads the splits -> features of the fixed centre crop -> svm_tasks.py: an SVM for each class and draw
-> svm_report.py: means over classes and draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.voc07.settings import LinearSvm, VocSet
from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Voc07Svm(VocSet, Evaluator):
    """Measure how well a straight line tells each class of VOC2007 from the rest.

    Args:
        kind: "voc07_svm".
        stage: whose maps are read, averaged to at most 10,000 numbers; null: the last convolutional one; "features":
            what is clustered.
        shots: how many positives of a class an SVM learns from, with (C - 1) times as many negatives; null: all
            images. Numbers above the rarest class's images are left out, and a line says so.
        n_samples: of each number of shots, draws of images, over which mean and deviation are taken.
        svm: the classifier.
    """

    kind: str = "voc07_svm"
    stage: str | None = None
    shots: list[int | None] = setting([1, 2, 4, 8, 16, 32, 64, 96, None], at_least=1)
    n_samples: int = setting(5, at_least=1)
    svm: LinearSvm = field(default_factory=LinearSvm)

    def __post_init__(self) -> None:
        check(self, "evaluation")
        if not self.shots:
            raise ValueError("evaluation.shots must name at least one number, or null, got []")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Learn, test, write voc07_svm.csv: a line for each SVM. Those that the folder keeps are not learned again.

        Returns:
            n_train, n_test; map_RULE of :data:`RULES` with all images (Goyal et al. give map_area); for each number
            of shots map_area_shots_N_mean and _std (over samples, n - 1; not of one), and the same of map_11_point.

        Raises:
            FileNotFoundError, ValueError: if the folder, the network and the settings do not fit.
        """
        from deepcluster.evaluation.kept_work import KeptWork, facts_of
        from deepcluster.evaluation.voc07.lists import naming_damage, read_splits
        from deepcluster.evaluation.voc07.svm_features import check_stage, unit_features
        from deepcluster.evaluation.voc07.svm_report import report_svms
        from deepcluster.evaluation.voc07.svm_tasks import SplitFeatures, learn_svms, plan_tasks

        check_stage(context.backbone, self.stage)
        learned, tested = read_splits(self.root, self.train_split, self.test_split, int(context.card["in_channels"]))
        tasks = plan_tasks(learned, self.shots, self.n_samples, context.progress.say)
        facts = facts_of(
            context.backbone,
            card=context.card,
            train_split=learned.name,
            test_split=tested.name,
            n_train=len(learned.images),
            n_test=len(tested.images),
            seed=context.seed,
            evaluation={"stage": self.stage, "svm": self.svm},
        )
        kept = KeptWork(folder=context.folder, facts=facts, say=context.progress.say)

        def features() -> list[SplitFeatures]:
            with naming_damage(learned.images):
                return [
                    SplitFeatures(unit_features(context, split.images, self.stage, self.num_workers), split)
                    for split in (learned, tested)
                ]

        results = learn_svms(tasks, features, self.svm, seed=context.seed, kept=kept, progress=context.progress)
        return {
            "n_train": len(learned.images),
            "n_test": len(tested.images),
            **report_svms(tasks, results, tested, self.svm.max_iter, context.progress.say, context.folder),
        }
