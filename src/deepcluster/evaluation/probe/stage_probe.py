"""evaluation=linear_probe: linear probes on any stages. Next: fast.py or original.py, the two protocols."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.probe.recipes import LinearProbe, OriginalProbe
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext

# Lower than LinearProbe's default rates: its lowest, 0.001, was best for 9,600 features (embedded set, both stages).
RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)


@dataclass(kw_only=True)
class StageProbe(Evaluator):
    """Accuracy of a linear classifier on each stage of a frozen network.

    Maps are taken after the stage's ReLU and before its pooling, and averaged to about 9,600 numbers (original:
    eval_linear.py). The accuracy is that of the last epoch; nothing is chosen on the test images.

    Args:
        kind: "linear_probe".
        stages: names such as [conv3,conv4]; "all"; null: the last one. "features" names the D features themselves.
        protocol: "fast": features are computed once, several learning rates are trained at once, the best is chosen on
            held-out training images, no augmentation. "original": the 2018 recipe with its crops and flips.
        max_features: maps with more numbers are averaged to a grid with at most this many. AlexNet at 224 pixels is
            averaged exactly as in the paper.
        max_images: use at most this many training images, drawn at random; null: all.
        test_share: share of the labelled images that is held out if no test set has labels.
        n_seeds: repetitions, for mean and standard deviation; the network and its features stay the same.
        memory_gb: of "fast": GB (1e9 bytes) for features; stages that do not fit together need more passes.
        linear_probe: of "fast": epochs, batch size, learning rates.
        original: of "original": epochs, batch size, learning rate, crops.
    """

    kind: str = "linear_probe"
    stages: Any = None
    protocol: str = setting("fast", one_of=("fast", "original"))
    max_features: int = setting(9600, at_least=1)
    max_images: int | None = setting(None, at_least=10)
    test_share: float = setting(0.2, above=0, below=1)
    n_seeds: int = setting(1, at_least=1)
    memory_gb: float = setting(4.0, above=0)
    linear_probe: LinearProbe = field(default_factory=lambda: LinearProbe(learning_rates=list(RATES)))
    original: OriginalProbe = field(default_factory=OriginalProbe)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.stages if isinstance(self.stages, list) else [self.stages]
        if self.stages is not None and not (names and all(isinstance(name, str) for name in names)):
            raise ValueError(f"evaluation.stages must be null, all, or names such as [conv3,conv4], got {self.stages}")
        if len(set(names)) < len(names):
            raise ValueError(f"evaluation.stages names a stage twice: {', '.join(names)}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Probe; writes linear_probe.csv and one classifier per stage, linear_probe_STAGE.pt.

        Returns:
            n_images; for each stage linear_probe_accuracy_STAGE and, with several seeds, of which it is the mean, the
            standard deviation linear_probe_accuracy_std_STAGE; for the original protocol also
            linear_probe_best_test_epoch_STAGE, which the 2018 code and paper report, chosen on the test images (issue
            #53 there).

        Raises:
            ValueError: if a stage does not exist, labels are missing, or features do not fit into memory.
        """
        from deepcluster.evaluation.probe.fast import probe_fast
        from deepcluster.evaluation.probe.labelled_split import split_to_probe
        from deepcluster.evaluation.probe.original import probe_original
        from deepcluster.evaluation.probe.stage_results import result_numbers, table_lines, write_results
        from deepcluster.evaluation.probe.stages import chosen_stages

        stages = chosen_stages(context.backbone, self.stages, max_features=self.max_features)
        split = split_to_probe(context, max_images=self.max_images, test_share=self.test_share)
        context.progress.say(
            f"{self.protocol} linear probe of {', '.join(stage.name for stage in stages)}: "
            f"{len(split.train_indices):,} training images, {len(split.test_indices):,} test images"
        )
        if self.protocol == "fast":  # all seeds of a stage are saved together
            kept_work = replace(context.kept_work(replace(self, memory_gb=1.0, stages=None)), refuse=False)
            results = probe_fast(
                context,
                split,
                stages,
                self.linear_probe,
                n_seeds=self.n_seeds,
                memory_gb=self.memory_gb,
                kept_work=kept_work,
            )
        else:  # each seed is saved alone, all stages together
            kept_work = context.kept_work(replace(self, memory_gb=1.0, n_seeds=1))
            results = probe_original(context, split, stages, self.original, n_seeds=self.n_seeds, kept_work=kept_work)
        write_results(context.folder / "linear_probe.csv", stages, results, self.protocol)
        for line in table_lines(stages, results):
            context.progress.say(line)
        return {"n_images": len(split.train_indices), **result_numbers(stages, results)}
