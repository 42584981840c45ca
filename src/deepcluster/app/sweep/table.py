"""What a sweep found, of train.py and of eval.py: tables in the terminal, results.csv and results.json in its folder.

Jobs in (sweep_jobs.py), text out; sweep_end.py calls it.
"""

import csv
import io
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

ABREAST = 4  # jobs side by side in a terminal
HEADINGS = {  # of summary.py's rows, for narrow columns
    "knn_accuracy": "k-NN",
    "linear_probe_accuracy": "linear probe",
    "nmi_labels": "NMI labels",
    "nmi_previous": "NMI last",
    "clusters_used": "clusters",
}


def differing(jobs: list[Job]) -> list[str]:
    """The keys whose values are not the same in all jobs, in the order in which they were typed."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    return [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]


def ordered(jobs: list[Job]) -> list[Job]:
    """The jobs by the values of what differs: numbers by size, others as they came first."""

    def rank(key: str) -> dict[str | None, float]:
        values = list(dict.fromkeys(job.overrides.get(key) for job in jobs))
        numbers = [number(value) for value in values]
        known = [n for n in numbers if n is not None]
        if len(known) == len(values):
            return dict(zip(values, known, strict=True))
        return {value: place for place, value in enumerate(values)}

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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "folder", *keys, *names, "error"])
    for job in jobs:
        told = [_value(job, key) for key in keys]
        found = [job.numbers.get(name, "") for name in names]
        writer.writerow([job.number, job.folder, *told, *found, job.error or ""])
    write_atomically(folder / "results.csv", text.getvalue().encode("utf-8", "surrogateescape"))
    write_atomically(folder / "results.json", (json.dumps([asdict(job) for job in jobs], indent=2) + "\n").encode())


def tell(jobs: list[Job], folder: Path, console: Console | None = None, *, n_jobs: int | None = None) -> None:
    """Print the tables, the failed and stopped jobs, and where the files are.

    Args:
        n_jobs: that the sweep was to have; None: those that there are.
    """
    console = console or Console(highlight=False, soft_wrap=True, markup=False)
    for table in tables([job for job in jobs if job.done], differing(jobs)):
        if not console.is_terminal:  # a file has room
            wide = console.options.update(max_width=10_000)
            console.width = max(console.width, Measurement.get(console, wide, table).maximum)
        console.print(table)
    for job in jobs:
        if job.error is not None:
            console.print(f"failed     job {job.number} ({_what(job, differing(jobs))}): {job.error}")
        elif not job.ended:
            console.print(f"stopped    job {job.number} ({_what(job, differing(jobs))}); {job.folder}")
    n_done, n_all = sum(job.done for job in jobs), max(n_jobs or 0, len(jobs))
    told = f"{n_done} jobs" if n_done == n_all else f"{n_done} of {n_all} jobs done"
    console.print(f"sweep      {told}; {folder}: results.csv, results.json")


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
        if any(len(same) > 1 for same in over_seeds(runs, keys).values()):
            found.append(_means(runs, keys))
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
        table.add_row(*(_value(job, key) for key in keys), *cells)
    return table


def over_seeds(jobs: Sequence[Job], keys: Sequence[str]) -> dict[tuple[str, ...], list[Job]]:
    """The jobs that differ in nothing but their seed, by the values of the other keys."""
    found: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        found.setdefault(tuple(job.overrides.get(key, "") for key in keys if key != "seed"), []).append(job)
    return found


def _means(jobs: list[Job], keys: list[str]) -> Table:
    """One row for the runs that differ only in their seed: mean ± standard deviation, trained and untrained."""
    table = Table(title="over seeds: mean ± sd, trained (untrained)", title_justify="left", box=box.SIMPLE_HEAD)
    for key in keys:
        if key != "seed":
            table.add_column(key, overflow="fold")
    table.add_column("seeds", justify="right")
    shown = [(name, form) for _, name, form in ROWS if name in HEADINGS]
    for name, _ in shown:
        table.add_column(HEADINGS[name], justify="right")
    for values, same in over_seeds(jobs, keys).items():
        cells = []
        for name, form in shown:
            after, before = (
                [job.numbers[f"{who}/{name}"] for job in same if f"{who}/{name}" in job.numbers]
                for who in ("trained", "untrained")
            )
            cell = mean_and_spread(after, form)
            cells.append(f"{cell} ({form.format(statistics.mean(before))})" if before else cell)
        table.add_row(*values, str(len(same)), *cells)
    return table


def mean_and_spread(values: list[float], form: str) -> str:
    """The mean ± the standard deviation of a sample (n - 1); without the latter where all are equal, "-" for none.

    >>> mean_and_spread([0.25, 0.75], "{:.1%}")
    '50.0 ± 35.4%'
    """
    if not values:
        return "-"
    mean = form.format(statistics.mean(values))
    if len(values) == 1 or len(set(values)) == 1:
        return mean
    spread = form.format(statistics.stdev(values))
    return f"{mean.removesuffix('%')} ± {spread}"


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


def _value(job: Job, key: str) -> str:
    """What was typed, or where it was not what the run says of itself, as of its seed; else nothing."""
    return job.overrides.get(key, str(job.numbers.get(key, "")))


def _what(job: Job, keys: list[str]) -> str:
    """What tells the job from others."""
    return " ".join(f"{key}={job.overrides[key]}" for key in keys if key in job.overrides) or f"job {job.number}"


def _spell(value: float | None) -> str:
    """A number to read: four digits, counts in full."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
