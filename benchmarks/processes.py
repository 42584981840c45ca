"""What two processes gain over one on this machine: extraction, clustering (gathered and in shares), training.

    python -m benchmarks.processes -- data=fashion_mnist clustering.k=100
    python -m benchmarks.processes --rounds 7 --steps 30 -- experiment=cifar10_parquet data.root=DIR

Three teams of processes wait and take turns, one phase at a time, because the speed of a shared machine drifts: one
process with one thread, one with two, and two with one each. A ratio is that of neighbouring turns; printed are the
median and the range over the rounds. Against one process with one thread the best is 2; against one with two threads
it is what DDP gives on the same two cores. In training each process has batches of reading.batch_size, as with
trainer=ddp. Overrides after `--` are those of train.py. CPU only.
"""

import argparse
import contextlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from benchmarks.cycle import machine
from benchmarks.settings import ROOT, parse, parser, read_config
from deepcluster.data.loader import random_batches
from deepcluster.models.head import ClusterHead
from deepcluster.run.parts import Parts, build_parts
from deepcluster.settings.train import TrainConfig
from deepcluster.system.seeding import mix

PHASES = ["extraction", "clustering, gathered", "clustering, in shares", "training"]
TEAMS = {"1 x 1": (1, 1), "1 x 2": (1, 2), "2 x 1": (2, 1)}  # processes, threads of each
WARM_UP_STEPS = 3


class Team:
    """G processes of this file that do a phase when told to."""

    def __init__(self, n_processes: int, n_threads: int, steps: int, overrides: list[str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.n_processes = n_processes
        self.members = []
        for rank in range(n_processes):
            env = dict(os.environ, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n_processes))
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": str(n_threads)}
            command = [sys.executable, "-m", "benchmarks.processes", "--member", "--steps", str(steps)]
            self.members.append(
                subprocess.Popen(
                    [*command, "--", *overrides],
                    env=env,
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )

    def do(self, phase: str) -> float:
        """Images per second of one turn.

        Raises:
            RuntimeError: if a process has ended; it has said why on stderr.
        """
        for member in self.members:
            assert member.stdin is not None
            member.stdin.write(f"{phase}\n")
            member.stdin.flush()
        rates = []
        for member in self.members:
            assert member.stdout is not None
            answer = member.stdout.readline()
            if not answer:
                raise RuntimeError(f"a process of the team has ended with {member.wait()}")
            rates.append(float(json.loads(answer)))
        return rates[0]  # all processes have waited for the slowest

    def end(self) -> None:
        for member in self.members:
            member.kill()
            member.wait()


def be_member(steps: int, overrides: list[str]) -> None:
    """One process of a team: a phase's name on stdin, images per second on stdout."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if int(os.environ["WORLD_SIZE"]) > 1:
        dist.init_process_group("gloo")
    config = read_config([*overrides, "trainer.accelerator=cpu", "trainer.max_epochs=1"])
    with contextlib.redirect_stdout(io.StringIO()):
        parts = build_parts(config)
    phases = Phases(config, parts, steps)
    for line in sys.stdin:
        images_per_s = phases.do(line.strip())
        print(json.dumps(images_per_s), flush=True)


class Phases:
    """The phases of a cycle as this process takes part in them."""

    def __init__(self, config: TrainConfig, parts: Parts, steps: int) -> None:
        self.config, self.parts, self.steps = config, parts, steps
        self.head = ClusterHead(parts.backbone.feature_dim, config.clustering.capacity(len(parts.images)))
        self.trained: Any = None  # DDP around the network, and its optimizer

    def do(self, phase: str) -> float:
        """Images per second of all processes together, from a common start to a common end."""
        if phase == "training" and self.trained is None:
            self._train(WARM_UP_STEPS)
        meet()
        started = time.perf_counter()
        if phase == "training":
            n_images = self._train(self.steps)
            meet()
            return n_images / (time.perf_counter() - started)
        parallel = "shares" if phase == "clustering, in shares" else "gather"
        clusterer = self.parts.clusterer
        if hasattr(clusterer.clustering, "parallel"):
            clusterer = replace(clusterer, clustering=replace(clusterer.clustering, parallel=parallel))
        _, seconds = clusterer.assign(self.parts.backbone, device=torch.device("cpu"), moment="benchmark")
        meet()
        clustering_s = seconds["clustering_s"]
        spent = time.perf_counter() - started - clustering_s if phase == "extraction" else clustering_s
        return len(self.parts.images) / spent

    def _train(self, steps: int) -> int:
        """Steps as in trainer=ddp; returns the images of all processes."""
        n_processes = dist.get_world_size() if dist.is_initialized() else 1
        rank = dist.get_rank() if dist.is_initialized() else 0
        if self.trained is None:
            network: nn.Module = nn.Sequential(self.parts.backbone, self.head).train()
            if n_processes > 1:
                network = nn.parallel.DistributedDataParallel(network)
            self.trained = network, torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        network, optimizer = self.trained
        batch_size, n = self.config.reading.batch_size, len(self.parts.images)
        indices = torch.arange(rank, n, n_processes).repeat(-(-steps * batch_size * n_processes // n))
        bf16 = self.parts.precision.trainer.startswith("bf16")
        batches = random_batches(
            self.parts.images,
            self.parts.train_view,
            indices[: steps * batch_size],
            batch_size,
            self.parts.num_workers,
            seed=mix(self.config.seed, rank),
        )
        for batch in batches:
            crop = self.parts.train_view(batch.images, batch.draws)[0].contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(crop)
            functional.cross_entropy(logits.float(), batch.indices % logits.shape[1]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return len(indices[: steps * batch_size]) * n_processes


def meet() -> None:
    """Wait for the others of the team."""
    if dist.is_initialized():
        dist.barrier()


def measure(rounds: int, steps: int, overrides: list[str]) -> dict[str, dict[str, list[float]]]:
    """Images per second by phase, team and round; the first round warms up and is left out."""
    rates: dict[str, dict[str, list[float]]] = {phase: {team: [] for team in TEAMS} for phase in PHASES}
    teams = {name: Team(*size, steps=steps, overrides=overrides) for name, size in TEAMS.items()}
    try:
        for number in range(rounds + 1):
            for phase in PHASES:
                for name, team in teams.items():
                    rate = team.do(phase)
                    if number > 0:
                        rates[phase][name].append(rate)
    finally:
        for team in teams.values():
            team.end()
    return rates


def ratios(rates: dict[str, list[float]], of: str, to: str) -> list[float]:
    """Round by round, how much faster one team is than another."""
    return [a / b for a, b in zip(rates[of], rates[to], strict=True)]


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """The median, and the range in brackets."""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def main(words: list[str] | None = None) -> None:
    known = parser(__doc__)
    known.add_argument("--rounds", type=int, default=5, help="turns of each team and phase")
    known.add_argument("--steps", type=int, default=30, help="training steps in a turn")
    known.add_argument("--out", type=Path, help="also write the rates of all rounds there, as JSON")
    known.add_argument("--member", action="store_true", help=argparse.SUPPRESS)
    options = parse(known, words)
    if options.rounds < 1 or options.steps < 1:
        known.error(f"--steps and --rounds must be at least 1, got {options.steps} and {options.rounds}")
    if options.member:
        be_member(options.steps, options.overrides)
        return
    rates = measure(options.rounds, options.steps, options.overrides)
    print_table(rates)
    if options.out is not None:
        options.out.write_text(json.dumps(rates, indent=2) + "\n")


def print_table(rates: dict[str, dict[str, list[float]]]) -> None:
    """One line per phase: images per second of each team, and the two ratios."""
    table = Table(title=f"processes x threads, images/s, median (range); {machine()}")
    for title in ["phase", *TEAMS, "2 x 1 to 1 x 1", "2 x 1 to 1 x 2"]:
        table.add_column(title)
    for phase, of_teams in rates.items():
        cells = [spread(of_teams[team], "{:,.0f}") for team in TEAMS]
        cells += [spread(ratios(of_teams, "2 x 1", to)) for to in ("1 x 1", "1 x 2")]
        table.add_row(phase, *cells)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


if __name__ == "__main__":
    main()
