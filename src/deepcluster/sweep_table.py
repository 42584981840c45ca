"""A sweep's end, of train.py and of eval.py: one table in the terminal, results.csv and results.json in its folder.

Hydra calls it after each job (configs/train.yaml and eval.yaml, hydra.callbacks); what the jobs left in their
folders is all that it reads.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from deepcluster.atomic import write_atomically
from deepcluster.command_line import expand
from deepcluster.errors import sentence
from deepcluster.summary import ROWS

RESULT_FILES = ("results.json", "summary.json")  # of eval.py and of train.py
ABREAST = 4  # jobs side by side in a terminal
UNTOLD = ("output_dir",)  # the same for all, and known
HEADINGS = {  # of summary.py's rows, for narrow columns
    "knn_accuracy": "k-NN",
    "linear_probe_accuracy": "linear probe",
    "nmi_labels": "NMI labels",
    "nmi_previous": "NMI last",
    "clusters_used": "clusters",
}


@dataclass(kw_only=True)
class Job:
    """One job that has ended.

    Args:
        number: its place in the sweep, from 0.
        folder: where its files are.
        overrides: what was typed for it, key -> value.
        evaluation: eval.py's choice, also where it was not typed; None in train.py.
        numbers: what it found; {} if it failed.
        error: why it failed, in a sentence.
    """

    number: int
    folder: str
    overrides: dict[str, str]
    evaluation: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    error: str | None = None


class SweepTable(Callback):
    """Gathers the jobs' numbers; the files are written after every job, the table is printed after the last."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.n_jobs: int | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Count the jobs to come: on_multirun_end is not called if one failed."""
        self.n_jobs = len(expand(list(config.hydra.overrides.task)))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Add one job."""
        if self.n_jobs is None:  # no sweep
            return
        hydra = config.hydra
        folder = Path(hydra.runtime.output_dir)
        job = Job(
            number=int(hydra.job.num),
            folder=str(folder),
            overrides=keys_and_values(list(hydra.overrides.task)),
            evaluation=hydra.runtime.choices.get("evaluation"),
        )
        if job_return.status == JobStatus.COMPLETED:
            job.numbers = numbers_in(folder)
        else:
            job.error = sentence(job_return._return_value)  # return_value would raise it
        self.jobs.append(job)
        write(self.jobs, Path(hydra.sweep.dir))
        if len(self.jobs) == self.n_jobs:
            tell(self.jobs, Path(hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Tell it now, if a sweeper of another kind ran other jobs than were counted."""
        if len(self.jobs) != self.n_jobs:
            tell(self.jobs, Path(config.hydra.sweep.dir))


def keys_and_values(overrides: list[str]) -> dict[str, str]:
    """Overrides as Hydra spells them, without those that a table need not tell."""
    parted = (override.partition("=") for override in overrides)
    return {key: value for key, _, value in parted if key not in UNTOLD and not key.startswith("hydra.")}


def numbers_in(folder: Path) -> dict[str, float]:
    """The numbers of a job's results.json, or of its summary.json, where those of groups are called GROUP/NAME."""
    file = next((folder / name for name in RESULT_FILES if (folder / name).is_file()), None)
    if file is None:
        return {}
    content = json.loads(file.read_text())
    if file.name == "results.json":  # its one group, arch, says what was measured
        content = {name: value for name, value in content.items() if not isinstance(value, dict)}
    return _flat(content, "")


def _flat(node: dict[str, Any], prefix: str) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{name}"] = value
    return flat


def differing(jobs: list[Job]) -> list[str]:
    """The keys whose values are not the same in all jobs, in the order in which they were typed."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def write(jobs: list[Job], folder: Path) -> None:
    """results.csv, one row per job, and results.json, whole or not at all."""
    keys = list(dict.fromkeys(key for job in jobs for key in job.overrides))
    names = list(dict.fromkeys(name for job in jobs for name in job.numbers))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "folder", *keys, *names, "error"])
    for job in jobs:
        told = [job.overrides.get(key, "") for key in keys]
        found = [job.numbers.get(name, "") for name in names]
        writer.writerow([job.number, job.folder, *told, *found, job.error or ""])
    write_atomically(folder / "results.csv", text.getvalue().encode("utf-8", "surrogateescape"))
    write_atomically(folder / "results.json", (json.dumps([asdict(job) for job in jobs], indent=2) + "\n").encode())


def tell(jobs: list[Job], folder: Path, console: Console | None = None) -> None:
    """Print the tables, the failed jobs with their errors, and where the files are."""
    console = console or Console(highlight=False, soft_wrap=True, markup=False)
    for table in tables([job for job in jobs if job.error is None], differing(jobs)):
        if not console.is_terminal:  # a file has room
            wide = console.options.update(max_width=10_000)
            console.width = max(console.width, Measurement.get(console, wide, table).maximum)
        console.print(table)
    failed = [job for job in jobs if job.error is not None]
    for job in failed:
        console.print(f"failed     job {job.number} ({_what(job, differing(jobs))}): {job.error}")
    n_done = f"{len(jobs)} jobs" if not failed else f"{len(jobs) - len(failed)} of {len(jobs)} jobs done"
    console.print(f"sweep      {n_done}; {folder}: results.csv, results.json")


def tables(jobs: list[Job], keys: list[str]) -> list[Table]:
    """The finished jobs' numbers: a row per run of train.py, a block per evaluation of eval.py.

    Args:
        jobs: those that have numbers.
        keys: what differs between all jobs of the sweep.
    """
    found = []
    runs = [job for job in jobs if job.evaluation is None]
    if runs:
        found.append(_runs(runs, keys))
    for evaluation in dict.fromkeys(job.evaluation for job in jobs if job.evaluation is not None):
        block = [job for job in jobs if job.evaluation == evaluation]
        found += [_block(block[i : i + ABREAST], keys) for i in range(0, len(block), ABREAST)]
    return found


def _runs(jobs: list[Job], keys: list[str]) -> Table:
    """One row per run: what differs, then the figures of the trained network, and of the untrained in brackets."""
    table = Table(title="each run: trained (untrained)", title_justify="left", box=box.SIMPLE_HEAD)
    for key in keys:
        table.add_column(key, overflow="fold")
    shown = [(name, form) for _, name, form in ROWS if name in HEADINGS]
    for name, _ in shown:
        table.add_column(HEADINGS[name], justify="right")
    for job in jobs:
        cells = []
        for name, form in shown:
            after, before = job.numbers.get(f"trained/{name}"), job.numbers.get(f"untrained/{name}")
            cell = "-" if after is None else form.format(after)
            cells.append(cell if before is None else f"{cell} ({form.format(before)})")
        table.add_row(*(job.overrides.get(key, "") for key in keys), *cells)
    return table


def _block(jobs: list[Job], keys: list[str]) -> Table:
    """One evaluation: a line per number, a column per job."""
    table = Table(title=f"evaluation={jobs[0].evaluation}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    others = [key for key in keys if key != "evaluation"]
    for job in jobs:
        table.add_column(_what(job, others or ["ckpt"]), justify="right", overflow="fold")
    for name in dict.fromkeys(name for job in jobs for name in job.numbers):
        table.add_row(name, *(_spell(job.numbers.get(name)) for job in jobs))
    return table


def _what(job: Job, keys: list[str]) -> str:
    """What tells the job from others."""
    return " ".join(f"{key}={job.overrides[key]}" for key in keys if key in job.overrides) or f"job {job.number}"


def _spell(value: float | None) -> str:
    """A number to read: four digits, counts in full."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
