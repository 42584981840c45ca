"""The results of a sweep, of train.py and eval.py: tables in the terminal, results.csv and results.json in its folder.

Jobs in (jobs.py), text out; end.py calls it.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from deepcluster.app.sweep.jobs import Job
from deepcluster.run.summary import ROWS
from deepcluster.system.atomic import write_atomically
from deepcluster.system.tables import write_csv

ABREAST = 4  # jobs side by side in a terminal
HEADINGS = {  # of the rows of a run's summary, for narrow columns
    "knn_accuracy": "k-NN",
    "linear_probe_accuracy": "linear probe",
    "nmi_labels": "NMI labels",
    "nmi_previous": "NMI last",
    "clusters_used": "clusters",
}
SHOWN = [(name, form) for _, name, form in ROWS if name in HEADINGS]


def differing(jobs: list[Job]) -> list[str]:
    """The keys whose values are not the same in all jobs, in the order in which they were typed."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def ordered(jobs: list[Job]) -> list[Job]:
    """The jobs by the values of what differs: numbers by size, others as they came first."""

    def rank(key: str) -> dict[str | None, float]:
        values = list(dict.fromkeys(job.overrides.get(key) for job in jobs))
        numbers = [n for value in values if (n := number(value)) is not None]
        return dict(zip(values, numbers if len(numbers) == len(values) else range(len(values)), strict=True))

    ranks = {key: rank(key) for key in differing(jobs)}
    return sorted(jobs, key=lambda job: [ranks[key][job.overrides.get(key)] for key in ranks])


def number(value: str | None) -> float | None:
    """A value that was typed as a number, None if it is none."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def write(jobs: list[Job], folder: Path) -> None:
    """results.csv, one row per job, and results.json, whole or not at all."""
    keys = list(dict.fromkeys(key for job in jobs for key in job.overrides))
    names = list(dict.fromkeys(name for job in jobs for name in job.numbers if name not in keys))
    rows = (
        [job.number, job.folder, *(_value(job, key) for key in keys), *map(job.numbers.get, names), job.error]
        for job in jobs
    )
    write_csv(folder / "results.csv", ["job", "folder", *keys, *names, "error"], rows)
    write_atomically(folder / "results.json", (json.dumps([asdict(job) for job in jobs], indent=2) + "\n").encode())


def tell(jobs: list[Job], folder: Path, console: Console | None = None, *, n_jobs: int | None = None) -> None:
    """Print the tables, the failed and stopped jobs, and where the files are.

    Args:
        n_jobs: how many the sweep was to have; None: those that there are.
    """
    console = console or Console(highlight=False, soft_wrap=True, markup=False)
    keys = differing(jobs)
    for table in tables([job for job in jobs if job.done], keys):
        if not console.is_terminal:  # a file has room
            wide = console.options.update(max_width=10_000)
            console.width = max(console.width, Measurement.get(console, wide, table).maximum)
        console.print(table)
    for job in jobs:
        if job.error is not None:
            console.print(f"failed     job {job.number} ({_name(job, keys)}): {job.error}")
        elif not job.ended:
            console.print(f"stopped    job {job.number} ({_name(job, keys)}); {job.folder}")
    n_done, n_all = sum(job.done for job in jobs), max(n_jobs or 0, len(jobs))
    how_many = f"{n_done} jobs" if n_done == n_all else f"{n_done} of {n_all} jobs done"
    console.print(f"sweep      {how_many}; {folder}: results.csv, results.json")


def tables(jobs: list[Job], keys: list[str]) -> list[Table]:
    """The finished jobs' numbers: a row per run of train.py, a block per evaluation of eval.py.

    Args:
        jobs: those that have numbers.
        keys: what differs between all jobs of the sweep.
    """
    made = []
    runs = [job for job in jobs if job.evaluation is None]
    if runs:
        made.append(_figures("each run: trained (untrained)", keys, [[job] for job in runs]))
        groups, others = over_seeds(runs, keys), [key for key in keys if key != "seed"]
        if any(len(group) > 1 for group in groups):
            made.append(_figures("over seeds: mean ± sd, trained (untrained)", others, groups, counted="seeds"))
    for evaluation in dict.fromkeys(job.evaluation for job in jobs if job.evaluation is not None):
        block = [job for job in jobs if job.evaluation == evaluation]
        made += [_block(block[i : i + ABREAST], keys) for i in range(0, len(block), ABREAST)]
    return made


def over_seeds(jobs: Sequence[Job], keys: Sequence[str]) -> list[list[Job]]:
    """The jobs in groups that differ in nothing but their seed."""
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in keys if key != "seed"), []).append(job)
    return list(groups.values())


def _figures(title: str, keys: list[str], groups: list[list[Job]], *, counted: str = "") -> Table:
    """One row per group of runs: what differs, then mean ± standard deviation, of the untrained network in brackets.

    Args:
        groups: runs that share a row.
        counted: heading of a column with the number of runs in each row; empty: no such column.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for key in keys:
        table.add_column(key, overflow="fold")
    for heading in [counted] * bool(counted) + [HEADINGS[name] for name, _ in SHOWN]:
        table.add_column(heading, justify="right")
    for group in groups:
        cells = [_value(group[0], key) for key in keys] + [str(len(group))] * bool(counted)
        for name, form in SHOWN:
            after, before = (
                [job.numbers[f"{who}/{name}"] for job in group if f"{who}/{name}" in job.numbers]
                for who in ("trained", "untrained")
            )
            cell = mean_and_spread(after, form)
            cells.append(f"{cell} ({form.format(statistics.mean(before))})" if before else cell)
        table.add_row(*cells)
    return table


def mean_and_spread(values: list[float], form: str) -> str:
    """The mean ± the standard deviation of a sample (n - 1); without the latter where all are equal, "-" for none.

    >>> mean_and_spread([0.25, 0.75], "{:.1%}")
    '50.0 ± 35.4%'
    """
    if not values:
        return "-"
    mean = form.format(statistics.mean(values))
    if len(set(values)) == 1:
        return mean
    return f"{mean.removesuffix('%')} ± {form.format(statistics.stdev(values))}"


def _block(jobs: list[Job], keys: list[str]) -> Table:
    """One evaluation: a line per number, a column per job."""
    table = Table(title=f"evaluation={jobs[0].evaluation}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    others = [key for key in keys if key != "evaluation"]
    for job in jobs:
        table.add_column(_name(job, others or ["ckpt"]), justify="right", overflow="fold")
    for name in dict.fromkeys(name for job in jobs for name in job.numbers):
        table.add_row(name, *(_spell(job.numbers.get(name)) for job in jobs))
    return table


def _value(job: Job, key: str) -> str:
    """What was typed for the key; where nothing was, what the run reports, as it does its seed; else nothing."""
    return job.overrides.get(key, str(job.numbers.get(key, "")))


def _name(job: Job, keys: list[str]) -> str:
    """What tells the job from others: its values of these keys."""
    return " ".join(f"{key}={job.overrides[key]}" for key in keys if key in job.overrides) or f"job {job.number}"


def _spell(value: float | None) -> str:
    """A number to read: four digits, counts in full."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
