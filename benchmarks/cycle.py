"""How close training and extraction come to the bare network's speed: ratios measured in one run.

    python -m benchmarks.cycle -- experiment=cifar10_parquet data.root=DIR
    python -m benchmarks.cycle --steps 20 --rounds 5 --memory -- data=fashion_mnist_mini

Overrides after `--` are those of train.py. The two sides of each ratio take turns in short windows, because the
speed of a shared machine drifts: a ratio is that of two neighbouring windows, and the median and the range over
the rounds are printed. --memory adds benchmarks/memory.py.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from benchmarks import memory
from benchmarks.settings import parse, parser, read_config
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.describe import describe
from deepcluster.data.loader import Batch, feature_batches
from deepcluster.features.extraction import timed
from deepcluster.models.backbone import Backbone
from deepcluster.models.head import ClusterHead
from deepcluster.run.assemble import assemble
from deepcluster.run.parts import Parts, build_parts
from deepcluster.run.train import silence_libraries
from deepcluster.settings.train import TrainConfig
from deepcluster.system.seeding import generator
from deepcluster.system.threads import n_cores
from deepcluster.training.clusterer import Clusterer, Network
from deepcluster.training.datamodule import TrainingImages
from deepcluster.training.module import Crops, DeepClusterModule
from deepcluster.training.optimizer import OptimizerSettings
from deepcluster.training.optimizers import weight_groups
from deepcluster.training.record import RunRecord

WARM_UP_STEPS = 10
N_CYCLES = 3  # whole reassignments are timed in so many of the rounds: each takes as long as several windows


class RandomLabels(Clusterer):
    """Stands for the clustering while only training is timed; every cluster gets an image, as k-means promises."""

    def reassign(
        self, network: Network, *, device: torch.device, moment: str, previous: Sequence[Assignment | None]
    ) -> tuple[list[Assignment], dict[str, float]]:
        n, assignments = len(self.images), []
        for h, labeling in enumerate(self.labelings):
            draw, k = generator(self.seed, "random labels", h), labeling.capacity(n)
            labels = torch.cat([torch.arange(k), torch.randint(k, (n - k,), generator=draw)])
            labels = labels[torch.randperm(n, generator=draw)]
            assignments.append(Assignment(labels=labels, k=k, objective=0.0, centroids=torch.zeros(k, 1)))
        return assignments, {}


@dataclass
class Turns(pl.Callback):
    """Stops Lightning's loop between its windows, so that the other side of the ratio has its turn.

    A window is timed from one on_train_batch_start to another, so it holds the reading, transfer, augmentation,
    step and logging of exactly `steps` batches. The first step after a turn is not timed.
    """

    steps: int
    rounds: int
    device: torch.device
    other_side: Callable[[pl.Trainer, Crops, int], None]
    seconds: list[float] = field(default_factory=list)
    epoch_end_s: float = 0.0  # from the last step to the end of the epoch: numbers, line, checkpoint
    _since: float = 0.0

    @property
    def n_steps(self) -> int:
        """Steps until the end of the last window, and one more, whose start is that end."""
        return WARM_UP_STEPS + self.rounds * (self.steps + 1) + 1

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        number, step = divmod(batch_idx - WARM_UP_STEPS, self.steps + 1)
        if number < 0 or step > 1:
            return
        now = clock(self.device)
        if step == 0 and number > 0:
            self.seconds.append(now - self._since)
        if step == 0 and number < self.rounds:
            self.other_side(trainer, batch, number)
        self._since = clock(self.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.n_steps - 1:
            self._since = clock(self.device)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_end_s = clock(self.device) - self._since


@dataclass
class BareStep:
    """The training step with nothing around it: forward, cross-entropy, backward, update, on one batch in memory."""

    network: Backbone
    head: ClusterHead
    settings: OptimizerSettings
    optimizer: torch.optim.Optimizer | None = None

    def run(self, n: int, batch: Crops, trainer: pl.Trainer) -> float:
        """Seconds of n steps on the first crops of `batch`, which is on its device."""
        images = batch.crops[0]
        device = images.device
        if self.optimizer is None:
            self.network.to(device).train()
            self.head.to(device)
            fused = device.type in ("cpu", "cuda") and not trainer.gradient_clip_val
            self.optimizer = self.settings.build(weight_groups(self.network, [], self.head, self.settings), fused=fused)
            self.run(WARM_UP_STEPS, batch, trainer)
        assert self.optimizer is not None
        targets = batch.indices % self.head.capacity
        started = clock(device)
        for _ in range(n):
            self.optimizer.zero_grad()
            with trainer.precision_plugin.forward_context():  # the very autocast that Lightning enters
                loss = functional.cross_entropy(self.head(self.network(images)).float(), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return clock(device) - started


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
    config: TrainConfig, parts: Parts, steps: int, rounds: int
) -> tuple[Sides, list[dict[str, float]]]:
    """The training step's two sides, and the seconds of a few whole cycles by phase."""
    untrained = copy.deepcopy(parts.backbone).to(parts.device)
    head = ClusterHead(parts.backbone.feature_dim, config.clustering.capacity(len(parts.images)))
    bare_step = BareStep(copy.deepcopy(parts.backbone), head, config.optimizer)
    sides = Sides()
    cycles: dict[int, dict[str, float]] = {}

    def other_side(trainer: pl.Trainer, batch: Crops, number: int) -> None:
        if number in cycle_rounds(rounds):
            cycles[number] = reassignment(parts, untrained)
        bare_step.run(1, batch, trainer)
        sides.bare.append(bare_step.run(steps, batch, trainer))
        print(f"training   round {number + 1} of {rounds}", file=sys.stderr, flush=True)

    turns = Turns(steps, rounds, parts.device, other_side)
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
        sides.parts_ms = training_parts(made.batches, made.module, parts.device, steps)
    for number, cycle in cycles.items():
        cycle["training_s"] = turns.seconds[number] * len(parts.images) / (steps * config.reading.batch_size)
        cycle["epoch_end_s"] = turns.epoch_end_s
    return sides, list(cycles.values())


def cycle_rounds(rounds: int) -> list[int]:
    """The rounds in which a whole reassignment is timed, evenly spread."""
    return sorted({i * rounds // N_CYCLES for i in range(N_CYCLES)})


def reassignment(parts: Parts, backbone: Backbone) -> dict[str, float]:
    """Seconds of one reassignment by phase, as a run does it; the network is the untrained one."""
    assignment, seconds = parts.clusterer.assign(backbone, device=parts.device, moment="benchmark")
    with timed(seconds, "describe_s"):
        describe(assignment, assignment, parts.images.labels)
    return seconds


def training_parts(
    batches: TrainingImages, module: DeepClusterModule, device: torch.device, n: int
) -> dict[str, float]:
    """Milliseconds per batch of what surrounds the step, each alone: a hint where the overhead is."""
    loader = iter(batches.train_dataloader())
    module.to(device)
    batch = Batch(*(part.to(device) for part in next(loader)))
    module.on_after_batch_transfer(batch, 0)
    return {
        "reading": repeated(lambda: next(loader), n, device),
        "view": repeated(lambda: module.on_after_batch_transfer(batch, 0), n, device),
    }


def measure_extraction(parts: Parts, steps: int, rounds: int) -> Sides:
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
            repeated(side, 1 if number else WARM_UP_STEPS, device)
            seconds.append(steps * repeated(side, steps, device) / 1e3)
        print(f"extraction round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    sides.parts_ms = {
        "reading": repeated(lambda: next(loader), steps, device),
        "view": repeated(lambda: source.view(batch.images.to(device)), steps, device),
    }
    return sides


def repeated(work: Callable[[], object], n: int, device: torch.device) -> float:
    """Mean milliseconds of n calls."""
    started = clock(device)
    for _ in range(n):
        work()
    return 1e3 * (clock(device) - started) / n


def clock(device: torch.device) -> float:
    """Now, when the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


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


def ratio_rows(name: str, sides: Sides, n_timed: int, target: float) -> Iterator[tuple[str, str, str, str]]:
    """What, value, target, verdict; `n_timed` images in each window."""
    shares = sides.shares()
    met = verdict(statistics.median(shares) >= target)
    yield f"{name}, share of the bare rate", spread(shares, "{:.3f}"), f">= {target:.2f}", met
    yield f"  {name}, images/s", spread([n_timed / s for s in sides.real], "{:,.0f}"), "", ""
    yield "  bare, images/s", spread([n_timed / s for s in sides.bare], "{:,.0f}"), "", ""


def cycle_rows(cycles: list[dict[str, float]], *, judged: bool) -> Iterator[tuple[str, str, str, str]]:
    """What, value, target, verdict."""
    phases = ("features_s", "reduction_s", "clustering_s", "training_s")
    totals = [sum(cycle[name] for name in phases) for cycle in cycles]
    shares = [(c["reduction_s"] + c["clustering_s"]) / total for c, total in zip(cycles, totals, strict=True)]
    met = verdict(statistics.median(shares) <= 0.10) if judged else ""
    yield "PCA + k-means, share of a cycle", spread(shares, "{:.1%}"), "<= 10 %" if judged else "", met
    yield "  cycle, s", spread(totals, "{:.1f}"), "", ""
    for name in phases:
        yield f"  {name.removesuffix('_s')}, s", spread([cycle[name] for cycle in cycles], "{:.2f}"), "", ""
    for name, title in (("describe_s", "metrics of an assignment"), ("epoch_end_s", "epoch's end, checkpoint")):
        yield f"  {title}, s", spread([cycle[name] for cycle in cycles], "{:.2f}"), "(not in the cycle)", ""


def main(words: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=40, help="training steps, and extraction batches, per window")
    options.add_argument("--rounds", type=int, default=7, help="windows of each side")
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

    extraction = measure_extraction(parts, steps, rounds)
    training, cycles = measure_training(config, parts, steps, rounds)
    table = Table(title=f"{config.data.source}, {n_images:,} images, K = {k}, batch {batch_size}")
    table.add_column("", no_wrap=True)
    table.add_column("median (range)", justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("")
    judged = n_images == 50_000 and k == 1000  # the size that the target is meant for
    for row in chain(
        ratio_rows("training", training, steps * batch_size, 0.90),
        ratio_rows("extraction", extraction, steps * min(config.extraction.batch_size, n_images), 0.85),
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
