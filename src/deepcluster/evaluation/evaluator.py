"""The class of all evaluations of eval.py: settings, and `run(context) -> numbers`. Next: context.py.

Files with evaluators import torch and the like only inside `run`, so that `eval.py --help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepcluster.system.setting import check

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Evaluator:
    """One evaluation; EVAL_OPTIONS of settings/options.py lists them all. Here the limits of settings are checked.

    Args:
        kind: name of the evaluation.
    """

    needs_checkpoint: ClassVar[bool] = True  # False: it also runs without ckpt, on untrained networks of `arch`
    makes: ClassVar[str] = "numbers"  # the heading under which `eval.py --help` lists it: numbers, pictures or files

    kind: str

    def __post_init__(self) -> None:
        check(self, "evaluation")

    @property
    def keeps_results(self) -> bool:
        """Whether what it finds is written down; false: it only tells."""
        return True

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure or draw; prints the result and writes files into the context's folder.

        Returns:
            The numbers for results.json.

        Raises:
            ValueError: if network, images and settings do not fit together; raised before anything long starts.
        """
        raise NotImplementedError
