"""A sweep's results: tables in the terminal, results.csv and results.json in its folder. end.py calls it."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from deepcluster.app.sweep.jobs import WENT_BACK, Job
from deepcluster.run.summary import ROWS
from deepcluster.system.atomic import write_atomically
from deepcluster.system.tables import mean_and_spread, write_csv

JOBS_PER_TABLE = 4  # columns of a table of evaluations
HEADINGS = {  # short headings for rows of a run's summary
    "knn_accuracy": "k-NN",
    "linear_probe_accuracy": "linear probe",
    "nmi_labels": "NMI labels",
    "nmi_previous": "NMI last",
    "clusters_used": "clusters",
}
SHOWN = [(name, form) for _, name, form in ROWS if name in HEADINGS]


def differing_keys(jobs: list[Job]) -> list[str]:
    """The keys whose values differ between jobs, in the order in which they were typed."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def sort_jobs(jobs: list[Job]) -> list[Job]:
    """The jobs sorted by the values that differ: numbers by size, other values in the order of the jobs."""

    def rank(key: str) -> dict[str | None, float]:
        values = list(dict.fromkeys(job.overrides.get(key) for job in jobs))
        numbers = [n for value in values if (n := number(value)) is not None]
        return dict(zip(values, numbers if len(numbers) == len(values) else range(len(values)), strict=True))

    ranks = {key: rank(key) for key in differing_keys(jobs)}
    return sorted(jobs, key=lambda job: [ranks[key][job.overrides.get(key)] for key in ranks])


def number(value: str | None) -> float | None:
    """The typed value as a number; None if it is no number."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def write_results(jobs: list[Job], folder: Path) -> None:
    """Write results.csv, with one row per job, and results.json; no reader meets half a file."""
    keys = list(dict.fromkeys(key for job in jobs for key in job.overrides))
    names = list(dict.fromkeys(name for job in jobs for name in job.numbers if name not in keys))
    rows = (
        [job.number, job.folder, *(_value(job, key) for key in keys), *map(job.numbers.get, names), job.error]
        for job in jobs
    )
    write_csv(folder / "results.csv", ["job", "folder", *keys, *names, "error"], rows)
    write_atomically(folder / "results.json", (json.dumps([asdict(job) for job in jobs], indent=2) + "\n").encode())


def print_results(jobs: list[Job], folder: Path, console: Console | None = None, *, n_jobs: int | None = None) -> None:
    """Print the tables, the failed and stopped jobs, and where the files are.

    Args:
        n_jobs: how many jobs the sweep should have; None: as many as `jobs`.
    """
    console = console or Console(highlight=False, soft_wrap=True, markup=False)
    keys = differing_keys(jobs)
    for table in tables([job for job in jobs if job.done], keys):
        if not console.is_terminal:  # a file has no width
            wide = console.options.update(max_width=10_000)
            console.width = max(console.width, Measurement.get(console, wide, table).maximum)
        console.print(table)
    for job in jobs:
        if job.error is not None:
            console.print(f"failed     job {job.number} ({job_name(job, keys)}): {job.error}")
        elif not job.ended:
            console.print(f"stopped    job {job.number} ({job_name(job, keys)}); {job.folder}")
        elif WENT_BACK in job.numbers:
            console.print(
                f"back       job {job.number} ({job_name(job, keys)}) ended with its start: training made it worse"
            )
    n_done, n_all = sum(job.done for job in jobs), max(n_jobs or 0, len(jobs))
    done = f"{n_done} jobs" if n_done == n_all else f"{n_done} of {n_all} jobs done"
    console.print(f"sweep      {done}; {folder}: results.csv, results.json")


def tables(jobs: list[Job], keys: list[str]) -> list[Table]:
    """The finished jobs' numbers: a row for each run of train.py, tables for each evaluation of eval.py.

    Args:
        jobs: the finished jobs.
        keys: those that differ between all jobs of the sweep.
    """
    result = []
    runs = [job for job in jobs if job.evaluation is None]
    if runs:
        result.append(_runs("each run: trained (untrained)", keys, [[job] for job in runs]))
        groups, others = over_seeds(runs, keys), [key for key in keys if key != "seed"]
        if any(len(group) > 1 for group in groups):
            result.append(_runs("over seeds: mean ± sd, trained (untrained)", others, groups, counted="seeds"))
    for evaluation in dict.fromkeys(job.evaluation for job in jobs if job.evaluation is not None):
        block = [job for job in jobs if job.evaluation == evaluation]
        result += [_evaluations(block[i : i + JOBS_PER_TABLE], keys) for i in range(0, len(block), JOBS_PER_TABLE)]
    return result


def over_seeds(jobs: Sequence[Job], keys: Sequence[str]) -> list[list[Job]]:
    """The jobs in groups whose members differ only in their seed."""
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in keys if key != "seed"), []).append(job)
    return list(groups.values())


def _runs(title: str, keys: list[str], groups: list[list[Job]], *, counted: str = "") -> Table:
    """One row per group of runs: the keys that differ, then mean ± standard deviation; untrained network in brackets.

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
            trained, untrained = (
                [job.numbers[f"{network}/{name}"] for job in group if f"{network}/{name}" in job.numbers]
                for network in ("trained", "untrained")
            )
            cell = mean_and_spread(trained, form)
            cells.append(f"{cell} ({form.format(statistics.mean(untrained))})" if untrained else cell)
        table.add_row(*cells)
    return table


def _evaluations(jobs: list[Job], keys: list[str]) -> Table:
    """One evaluation: a row for each number, a column for each job."""
    table = Table(title=f"evaluation={jobs[0].evaluation}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    others = [key for key in keys if key != "evaluation"]
    for job in jobs:
        table.add_column(job_name(job, others or ["ckpt"]), justify="right", overflow="fold")
    for name in dict.fromkeys(name for job in jobs for name in job.numbers):
        table.add_row(name, *(_spell(job.numbers.get(name)) for job in jobs))
    return table


def _value(job: Job, key: str) -> str:
    """The value that was typed for the key, else the number of that name in the results (the seed), else nothing."""
    return job.overrides.get(key, str(job.numbers.get(key, "")))


def job_name(job: Job, keys: list[str]) -> str:
    """The job's values of these keys, or its number."""
    return " ".join(f"{key}={job.overrides[key]}" for key in keys if key in job.overrides) or f"job {job.number}"


def _spell(value: float | None) -> str:
    """A number with four digits; a count with all."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
