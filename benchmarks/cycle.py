"""How close training and extraction come to the bare network's speed: ratios measured in one run.

    python -m benchmarks.cycle -- experiment=cifar10_parquet data.root=DIR
    python -m benchmarks.cycle --processor-time -- method=swav
    python -m benchmarks.cycle --steps 20 --rounds 5 --memory -- data=fashion_mnist_mini

Overrides after `--` are those of train.py, any method among them. The bare step trains the same parts with the same
loss, on crops that are in memory. The two sides of each ratio take turns in short windows, because the speed of a
shared machine drifts: a ratio is that of two neighbouring windows, and the median and the range over the rounds are
printed. --processor-time counts the time on the processor, which the load of other programs changes less; with one
thread, as threads that wait for each other count too. --memory adds benchmarks/memory.py.
"""

import contextlib
import copy
import dataclasses
import io
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import memory
from benchmarks.bare_step import WARM_UP_STEPS, BareStep, Clock, RandomLabels, Turns, untrained_network
from benchmarks.settings import parse, parser, read_config
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.describe import describe
from deepcluster.data.crop_loader import Crops
from deepcluster.data.loader import feature_batches
from deepcluster.run.assemble import assemble
from deepcluster.run.parts import Parts, build_parts
from deepcluster.run.train import silence_libraries
from deepcluster.settings.train import TrainConfig
from deepcluster.system.threads import n_cores
from deepcluster.training.clusterer import Clusterer, Network
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.record import RunRecord

N_CYCLES = 3  # whole reassignments are timed in so many of the rounds: each takes as long as several windows
TARGETS = {"training": 0.95, "extraction": 0.85}  # shares of the bare rate


@dataclass
class Sides:
    """The two sides of a ratio: seconds of each round's windows, and milliseconds of a batch by part."""

    real: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    parts_ms: dict[str, float] = field(default_factory=dict)

    def shares(self) -> list[float]:
        """Of the bare step's rate, what the real phase reaches."""
        return [bare / real for real, bare in zip(self.real, self.bare, strict=True)]

    def where(self, steps: int) -> str:
        """Where a batch's time goes; reading and view were timed alone, the rest is what remains."""
        real, bare = (1e3 * statistics.median(seconds) / steps for seconds in (self.real, self.bare))
        parts = " + ".join(f"{name} {ms:.2f}" for name, ms in self.parts_ms.items())
        rest = real - bare - sum(self.parts_ms.values())
        return f"{real:.2f} ms per batch = bare {bare:.2f} + {parts} + rest {rest:.2f}"


def measure_training(
    config: TrainConfig, parts: Parts, steps: int, rounds: int, clock: Clock
) -> tuple[Sides, list[dict[str, float]]]:
    """The training step's two sides, and the seconds of a few whole cycles by phase."""
    untrained = copy.deepcopy(parts.backbone).to(parts.device)
    bare_step = BareStep(parts.module(copy.deepcopy(parts.backbone)), clock)
    sides = Sides()
    cycles: dict[int, dict[str, float]] = {}

    def other_side(trainer: pl.Trainer, batch: Crops, number: int) -> None:
        module = trainer.lightning_module
        assert isinstance(module, DeepClusterModule)
        if number in cycle_rounds(rounds):
            cycles[number] = reassignment(config, parts, untrained_network(module, untrained), clock)
        bare_step.run(1, batch, trainer)
        sides.bare.append(bare_step.run(steps, batch, trainer))
        print(f"training   round {number + 1} of {rounds}", file=sys.stderr, flush=True)

    turns = Turns(steps, rounds, clock, other_side)
    # One epoch holds all windows, whatever the number of images; the half guards against rounding down.
    epochs = (turns.n_steps * config.reading.batch_size + 0.5) / len(parts.images)
    fields = {f.name: getattr(parts.clusterer, f.name) for f in dataclasses.fields(Clusterer)}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        made = assemble(  # the Trainer and all else of a real run
            dataclasses.replace(config, reassign=dataclasses.replace(config.reassign, epochs=epochs)),
            dataclasses.replace(parts, clusterer=RandomLabels(**fields)),
            Path(folder),
            RunRecord(folder=Path(folder)),
            learned={},
        )
        made.trainer.callbacks.insert(0, turns)  # type: ignore[attr-defined]
        made.trainer.fit(made.module, datamodule=made.batches)
        sides.real = turns.seconds
        loader = iter(made.batches.train_dataloader())
        next(loader)
        sides.parts_ms = {"reading and view": repeated(lambda: next(loader), steps, clock)}
    for number, cycle in cycles.items():
        cycle["training_s"] = turns.seconds[number] * len(parts.images) / (steps * config.reading.batch_size)
        cycle["epoch_end_s"] = turns.epoch_end_s
    return sides, list(cycles.values())


def cycle_rounds(rounds: int) -> list[int]:
    """The rounds in which a whole reassignment is timed, evenly spread."""
    return sorted({i * rounds // N_CYCLES for i in range(N_CYCLES)})


def reassignment(config: TrainConfig, parts: Parts, network: Network, clock: Clock) -> dict[str, float]:
    """Seconds of one reassignment by phase, as a run does it; of the numbers that describe it, and of all else."""
    if not config.targets.needs_labels:  # nothing is clustered
        return dict.fromkeys(("features_s", "reduction_s", "clustering_s", "rest_s", "describe_s"), 0.0)
    nothing: list[Assignment | None] = [None] * len(parts.clusterer.labelings)
    started, wall = clock.now(), time.perf_counter()
    assignments, seconds = parts.clusterer.reassign(network, device=clock.device, moment="benchmark", previous=nothing)
    all_s, wall_s = clock.now() - started, time.perf_counter() - wall
    seconds = {name: value * all_s / wall_s for name, value in seconds.items()}  # phases know the wall clock alone
    seconds["rest_s"] = all_s - sum(seconds.values())
    started = clock.now()
    for assignment in assignments:
        describe(assignment, assignment, parts.images.labels)
    return {**seconds, "describe_s": clock.now() - started}


def measure_extraction(parts: Parts, steps: int, rounds: int, clock: Clock) -> Sides:
    """The feature pass's two sides, in windows of `steps` full batches."""
    device, images = parts.device, parts.images
    source = parts.clusterer.feature_pass(parts.backbone, device=device)
    size = min(source.batch_size, len(images))
    full = torch.arange(len(images) // size * size)
    # Pass after pass over the images: a window may end in the middle of one, and the next goes on there.
    stream = chain.from_iterable(source.stream(indices) for indices in repeat(full))
    loader = feature_batches(images, source.view, torch.cat([full] * (steps * size // len(full) + 2)), size, 0)
    batch = next(loader)
    seen: Tensor = source.view(batch.images.to(device))

    @torch.inference_mode()
    def forward() -> None:
        source.network(seen)

    sides = Sides()
    for number in range(rounds):
        for side, seconds in ((forward, sides.bare), (lambda: next(stream), sides.real)):
            repeated(side, 1 if number else WARM_UP_STEPS, clock)
            seconds.append(steps * repeated(side, steps, clock) / 1e3)
        print(f"extraction round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    sides.parts_ms = {
        "reading": repeated(lambda: next(loader), steps, clock),
        "view": repeated(lambda: source.view(batch.images.to(device)), steps, clock),
    }
    return sides


def repeated(work: Callable[[], object], n: int, clock: Clock) -> float:
    """Mean milliseconds of n calls."""
    started = clock.now()
    for _ in range(n):
        work()
    return 1e3 * (clock.now() - started) / n


def machine() -> str:
    """One line about where this is measured."""
    name = "unknown processor"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {n_cores()} cores, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}"


def spread(values: list[float], form: str) -> str:
    """Median and range."""
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def verdict(met: bool) -> str:
    return "[green]ok[/]" if met else "[red]missed[/]"


def ratio_rows(name: str, sides: Sides, n_timed: int) -> Iterator[tuple[str, str, str, str]]:
    """What, value, target, verdict; `n_timed` images in each window."""
    shares, target = sides.shares(), TARGETS[name]
    met = verdict(statistics.median(shares) >= target)
    yield f"{name}, share of the bare rate", spread(shares, "{:.3f}"), f">= {target:.2f}", met
    yield f"  {name}, images/s", spread([n_timed / s for s in sides.real], "{:,.0f}"), "", ""
    yield "  bare, images/s", spread([n_timed / s for s in sides.bare], "{:,.0f}"), "", ""


def cycle_rows(cycles: list[dict[str, float]], *, judged: bool) -> Iterator[tuple[str, str, str, str]]:
    """What, value, target, verdict."""
    phases = ("features_s", "reduction_s", "clustering_s", "training_s", "rest_s")
    totals = [sum(cycle[name] for name in phases) for cycle in cycles]
    shares = [(c["reduction_s"] + c["clustering_s"]) / total for c, total in zip(cycles, totals, strict=True)]
    met = verdict(statistics.median(shares) <= 0.10) if judged else ""
    yield "PCA + k-means, share of a cycle", spread(shares, "{:.1%}"), "<= 10 %" if judged else "", met
    yield "  cycle, s", spread(totals, "{:.1f}"), "", ""
    for name in phases:
        yield f"  {name.removesuffix('_s')}, s", spread([cycle[name] for cycle in cycles], "{:.2f}"), "", ""
        share = [cycle[name] / total for cycle, total in zip(cycles, totals, strict=True)]
        yield f"    {name.removesuffix('_s')}, share", spread(share, "{:.1%}"), "", ""
    for name, title in (("describe_s", "metrics of an assignment"), ("epoch_end_s", "epoch's end, checkpoint")):
        yield f"  {title}, s", spread([cycle[name] for cycle in cycles], "{:.2f}"), "(not in the cycle)", ""


def main(words: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=40, help="training steps, and extraction batches, per window")
    options.add_argument("--rounds", type=int, default=7, help="windows of each side")
    options.add_argument("--processor-time", action="store_true", help="seconds on the processor, not by the clock")
    options.add_argument("--memory", action="store_true", help="also peak memory for growing N, in fresh processes")
    options.add_argument(
        "--sizes", type=int, nargs="+", help="two or more N for --memory; default 1/4, 1/2, 1, 2, 4 x the set"
    )
    arguments = parse(options, words)
    if arguments.steps < 1 or arguments.rounds < 1:
        options.error(f"--steps and --rounds must be at least 1, got {arguments.steps} and {arguments.rounds}")
    if arguments.sizes is not None and len(set(arguments.sizes)) < 2:
        options.error("--sizes needs two different N, growth is between the two largest")
    steps, rounds = arguments.steps, arguments.rounds
    config = read_config([*arguments.overrides, "trainer.max_epochs=1"])
    silence_libraries()
    parts = build_parts(config)
    parts.progress.bars = False
    n_images, batch_size = len(parts.images), config.reading.batch_size
    k = config.clustering.capacity(n_images)
    load_before, started = os.getloadavg()[0], time.perf_counter()

    clock = Clock(parts.device, of_processor=arguments.processor_time)
    extraction = measure_extraction(parts, steps, rounds, clock)
    training, cycles = measure_training(config, parts, steps, rounds, clock)
    table = Table(title=f"{config.data.source}, {n_images:,} images, K = {k}, batch {batch_size}")
    table.add_column("", no_wrap=True)
    table.add_column("median (range)", justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("")
    judged = n_images == 50_000 and k == 1000  # the size that the target is meant for
    for row in chain(
        ratio_rows("training", training, steps * batch_size),
        ratio_rows("extraction", extraction, steps * min(config.extraction.batch_size, n_images)),
        cycle_rows(cycles, judged=judged),
    ):
        table.add_row(*row)
    for name, growth, target in memory.measure(arguments.overrides, parts, arguments.sizes) if arguments.memory else []:
        limit, met = ("", "") if target is None else (f"<= {target} B", verdict(growth <= target))
        table.add_row(f"memory growth per image, {name}", f"{growth:+,.0f} B", limit, met)

    console = Console(highlight=False, soft_wrap=True, width=120)  # a pipe has no width, 80 would cut numbers
    console.print(table)
    lines = [
        f"training   {training.where(steps)}",
        f"extraction {extraction.where(steps)}",
        f"a ratio: {rounds} rounds of {steps} batches a side, taking turns; cycle: {len(cycles)} reassignments of all "
        f"{n_images:,} images,",
        f"  training scaled to one pass over the images from the {steps * batch_size:,} of the same round "
        f"({steps * batch_size / n_images:.0%} of a pass)",
        f"machine    {machine()}; load {load_before:.1f} before, {os.getloadavg()[0]:.1f} after",
        f"precision  {parts.precision.trainer}, extraction in {parts.precision.extraction} ({parts.precision.reason})",
        f"seed       {config.seed}; {time.perf_counter() - started:.0f} s after loading",
        f"command    python -m benchmarks.cycle {shlex.join(sys.argv[1:])}",
    ]
    for line in lines:
        console.print(line, markup=False)


if __name__ == "__main__":
    main()
