"""kill -9 at random moments, resume, compare with the uninterrupted run: the part "kills"."""

import csv
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.faults.runs import Ended, Runs, differences, seconds_until_gone

SMALL = [
    "data.limit=300",
    "clustering.k=10",
    "reduction.dim=16",
    "trainer.max_epochs=3",
    "evaluation.linear_probe.epochs=1",
    "evaluation.linear_probe.learning_rates=[0.1]",
]
# None of these changes a result, so all are compared with one run.
WAYS = [
    [],
    ["reading.num_workers=2"],
    ["checkpoint.every_n_steps=2"],
    ["checkpoint.every_n_steps=1", "reading.num_workers=2", "reading.persistent_workers=true"],
]
AIMED_AT = ("extraction", "clustering", "training", "checkpointing")
LEFT_ALIVE_S = 15.0  # workers look every 5 s whether the process that they read for still lives


@dataclass(kw_only=True)
class Kill:
    """One line of the csv: a run, its kills and what came of it.

    Args:
        number: of the run.
        aimed_at: a phase, or "any moment".
        phases: in which the kills fell, joined by " + ".
        way: settings besides those of the uninterrupted run.
        resumed_from: "a checkpoint", "the beginning" (none was there yet) or "the same command" (no run yet).
        orphans_s: until the last worker of the killed process was gone; -1 if it had none; none after the limit.
        same: whether all results are those of the uninterrupted run.
        what: what differs, or how the resumed run ended.
        seconds: of the run, the kills and the resumes.
    """

    number: int
    aimed_at: str
    phases: str
    way: str
    resumed_from: str
    orphans_s: float
    same: bool
    what: str
    seconds: float


def run_kills(folder: Path, n_kills: int, seed: int, say: Callable[[str], None]) -> list[Kill]:
    """Kill `n_kills` runs, each at a moment drawn from `seed`, resume and compare; every fifth is killed twice.

    A tenth of the moments is uniform over the run, as are all second ones (in the resumed run); the others lie
    uniformly within the phase that was met least, as long as the uninterrupted run took for it.
    Each kill is a line of folder/kills.csv.

    Raises:
        RuntimeError: if the uninterrupted run fails.
    """
    draw, runs, met = random.Random(seed), Runs(folder), Counter[str]()
    whole = runs.train(*SMALL, "output_dir=whole")
    if whole.status != 0:
        raise RuntimeError(f"the uninterrupted run failed: {whole.err}")
    say(f"the uninterrupted run took {whole.seconds:.1f} s: {_entries(whole)}")
    done: list[Kill] = []
    with (runs.folder / "kills.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [f.name for f in fields(Kill)])
        table.writeheader()
        for number in range(n_kills):
            aim = None if number % 10 == 9 else min(AIMED_AT, key=lambda phase: met[phase])
            kill = _kill(runs, whole, number, aim, WAYS[number % len(WAYS)], twice=number % 5 == 3, draw=draw)
            met.update(kill.phases.split(" + "))
            done.append(kill)
            table.writerow(asdict(kill))
            file.flush()
            result = "the same result" if kill.same else f"DIFFERENT: {kill.what}"
            say(f"{number + 1:3} killed in {kill.phases}, resumed from {kill.resumed_from}: {result}")
    return done


def _kill(
    runs: Runs, whole: Ended, number: int, aim: str | None, way: list[str], *, twice: bool, draw: random.Random
) -> Kill:
    started, folder = time.monotonic(), runs.folder / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    command, phases, orphans, begun = [*SMALL, *way, "output_dir=killed"], [], -1.0, "the same command"
    while True:
        killed = _one_kill(runs, whole, aim, command, draw)
        if killed.status != -9:  # it was faster than the moment
            if killed.status != 0 or phases:
                break
            shutil.rmtree(folder)
            continue
        phases.append(killed.phase)
        if "reading.num_workers=2" in way:
            gone = seconds_until_gone(killed.session, LEFT_ALIVE_S)
            orphans = max(orphans, LEFT_ALIVE_S + 1 if gone is None else gone)
        if (folder / "config.yaml").is_file():
            command = ["resume=killed"]
            begun = "a checkpoint" if (folder / "checkpoints" / "last.ckpt").is_file() else "the beginning"
        if not twice or len(phases) == 2:
            break
        aim = None
    done = runs.train(*command) if killed.status == -9 else killed
    what = differences(folder, runs.folder / "whole") if done.status == 0 else [f"status {done.status}: {done.err}"]
    if orphans > LEFT_ALIVE_S:
        what.append("workers of the killed process live on")
    return Kill(
        number=number,
        aimed_at=aim or "any moment",
        phases=" + ".join(phases),
        way=" ".join(way),
        resumed_from=begun,
        orphans_s=round(orphans, 1),
        same=not what,
        what="; ".join(what),
        seconds=round(time.monotonic() - started, 1),
    )


def _one_kill(runs: Runs, whole: Ended, aim: str | None, command: list[str], draw: random.Random) -> Ended:
    """The command, killed within a phase or at any moment of the uninterrupted run's length."""
    if aim is None:
        return runs.train(*command, kill_at_s=draw.uniform(0, whole.seconds))
    ends = [at for at, _ in whole.entered[1:]] + [whole.seconds]
    lengths = [end - at for (at, name), end in zip(whole.entered, ends, strict=True) if name == aim]
    number = draw.randrange(len(lengths))
    after_s, n_met = draw.random() * lengths[number], 0

    def kill(now: float, name: str) -> float | None:
        nonlocal n_met
        n_met += name == aim
        return after_s if name == aim and n_met == number + 1 else None

    return runs.train(*command, kill=kill)


def _entries(run: Ended) -> str:
    counts = Counter(name for _, name in run.entered if name != "between")
    return ", ".join(f"{name} {n}x" for name, n in counts.items())


def by_phase(kills: list[Kill]) -> list[tuple[str, int, int]]:
    """Of each phase: how many kills fell into it, and after how many the result was the same."""
    fell = Counter(phase for kill in kills for phase in kill.phases.split(" + "))
    same = Counter(phase for kill in kills if kill.same for phase in kill.phases.split(" + "))
    return [(phase, n, same[phase]) for phase, n in fell.most_common()]
