"""eval.py's work, once Hydra has composed a config: one evaluation of one network. Next: run/evaluate.py."""

from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deepcluster.app.errors import exit_everywhere_with_error
from deepcluster.app.run_failure import report_failure
from deepcluster.app.sweep.overrides import name_and_group
from deepcluster.run.evaluate import evaluate
from deepcluster.settings.eval import eval_config
from deepcluster.settings.run_folder import remove_unused
from deepcluster.system import distributed
from deepcluster.system.allocator import keep_freed_memory
from deepcluster.system.atomic import locked
from deepcluster.system.program import program
from deepcluster.system.quoting import argument


def evaluate_from_command_line(cfg: DictConfig) -> None:
    """One run of eval.py. A failure is raised in a sweep; a single run ends with one line and exit status 1."""
    keep_freed_memory()
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    if distributed.starter() is not None and distributed.n_started() > 1:
        exit_everywhere_with_error(
            ValueError(
                f"{distributed.starter()} has started {distributed.n_started()} processes, and an evaluation is one; "
                f"start it with {program('eval')} ..."
            )
        )
    with report_failure(folder, "eval", how_to_repeat), locked(folder):  # a second one would write over its results
        settings = eval_config(cfg, list(hydra_cfg.overrides.task))
        settings = replace(settings, logger=settings.logger.named(*name_and_group(hydra_cfg, folder)))
        evaluate(settings, folder)
    if not settings.evaluation.keeps_results:
        remove_unused(folder)


def how_to_repeat(folder: Path) -> str:
    """What follows the word "stopped": long evaluations keep finished parts."""
    return f"; the same command with {argument('output_dir', folder)} uses what is done there, as far as it was kept"
