"""What every evaluation of eval.py is: settings, and `run(context) -> numbers`. Next: context.py.

Files that hold evaluators import nothing that computes, so that `eval.py --help` answers at once; `run` imports it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepcluster.system.setting import check

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Evaluator:
    """One evaluation. settings/options.py's EVAL_OPTIONS names them all. Limits of settings are checked here.

    Args:
        kind: its name.
    """

    needs_checkpoint: ClassVar[bool] = True  # False: it also runs without ckpt, on untrained networks of `arch`
    makes: ClassVar[str] = "numbers"  # the heading under which `eval.py --help` lists it: numbers, pictures or files

    kind: str

    def __post_init__(self) -> None:
        check(self, "evaluation")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure or draw: print the result, leave files in the context's folder.

        Returns:
            The numbers for results.json.

        Raises:
            ValueError: if network, images and settings do not fit together, before anything long starts.
        """
        raise NotImplementedError
