"""Time and memory of one reassignment as N and K grow, on images that are made when they are asked for.

    python -m benchmarks.scaling measure scaling.csv --n 100000 300000 1000000 --k 100 1000 10000
    python -m benchmarks.scaling measure scaling.csv --n 5000000 --k 1000
    python -m benchmarks.scaling plot scaling.csv docs/scaling.png

Each (N, K) is one reassignment (extraction, PCA, k-means on a subsample, assignment of all, comparison) by the
Clusterer of a real run, in a fresh process. Its row is written when it ends; what stands in the csv is not done
again, so a measurement that was stopped goes on with the same command. Overrides after `--` are those of train.py.

Memory is that of the process and its children: `rss` with the pages of the mapped file, which the system takes back
when it needs them, and `anonymous` without any file's pages, which is what must fit. Seconds are of the clock, and
of the processor (`cpu`, of this process), which other programs on the machine do not lengthen: the plot shows these.
"""

import csv
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.settings import ROOT, parse, parser, read_config

COLUMNS = [
    "n", "k", "p", "dtype", "on_disk", "store_mb", "features_s", "reduction_s", "clustering_s", "compare_s",
    "extraction_cpu_s", "clustering_cpu_s",
    "rss_before_mb", "anonymous_before_mb", "peak_rss_mb", "peak_anonymous_mb", "clusters_used", "nmi_textures",
    "threads",
]  # fmt: skip
N_TEXTURES, SIDE, ROOM = 5_000, 32, 8  # ROOM: by how much an image may be shifted
# LeNet with two strides: 512 features of a 32 px image, at a cost that does not hide the clustering's
NETWORK = ["arch=lenet", "arch.channels=[16,32]", "+arch.feature_dim=512", "+arch.hidden=256"]
SETTINGS = ["view.size=32", "reduction.dim=128", "clustering.max_points_per_centroid=32", "extraction.memory_gb=1"]
EVERY_S = 0.2


class Samples:
    """N identities that are made when they are asked for."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> str:
        return f"made/{range(self.n)[i]}"


@dataclass
class MadeImages:
    """N grey images, each a function of its index: one of 5,000 textures, shifted, darkened, with noise.

    An image costs some microseconds, no memory, and is the same in every process.
    """

    n: int
    labels: Tensor | None = None
    classes: list[str] | None = None
    n_channels: int = 1
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        side = SIDE + ROOM
        coarse = torch.rand(N_TEXTURES, 1, 6, 6, generator=draw)
        smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
        self._textures = (190 * smooth).byte()
        self._noise = torch.randint(0, 64, (256, 1, SIDE, SIDE), generator=draw, dtype=torch.uint8)
        self.samples = Samples(self.n)

    def __len__(self) -> int:
        return self.n

    def texture(self, i: int) -> int:
        """Which of the textures image i shows: a kind of true label."""
        return mixed(i) % N_TEXTURES

    def read(self, i: int) -> Tensor:
        number = mixed(i)
        top, left, noise = (number >> 20) % ROOM, (number >> 28) % ROOM, (number >> 36) % 256
        texture = self._textures[number % N_TEXTURES][:, top : top + SIDE, left : left + SIDE]
        return texture + self._noise[noise]


def mixed(i: int) -> int:
    """A number of 64 bits in which every bit of i shows (splitmix64)."""
    z = (i + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


class Watch(threading.Thread):
    """The largest memory of this process and its children, looked up five times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.rss = self.anonymous = 0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            used = [memory(pid) for pid in (os.getpid(), *children(os.getpid()))]
            self.rss = max(self.rss, sum(rss for rss, _ in used))
            self.anonymous = max(self.anonymous, sum(anonymous for _, anonymous in used))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, and those of them that no file backs."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0, 0
    numbers = {
        line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmRSS", "RssAnon"))
    }
    return numbers.get("VmRSS", 0), numbers.get("RssAnon", 0)


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    pids = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            pids += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return pids


def reassign(n: int, k: int, scratch: Path, overrides: list[str]) -> dict[str, Any]:
    """One reassignment of n made images to k clusters, measured; in this process."""
    from deepcluster.clustering import metrics
    from deepcluster.clustering.describe import describe
    from deepcluster.data.views import feature_view
    from deepcluster.run.train import silence_libraries
    from deepcluster.training.clusterer import Clusterer
    from deepcluster.weights.network import build_backbone

    config = read_config(
        [*NETWORK, *SETTINGS, f"clustering.k={k}", f"extraction.scratch={scratch}", *overrides, "trainer.max_epochs=1"]
    )
    silence_libraries()
    images = MadeImages(n)
    backbone = build_backbone({"arch": config.arch, "in_channels": 1, "image_size": SIDE}, seed=config.seed)
    dim = config.reduction.output_dim(backbone.feature_dim)
    storage = config.extraction.storage(n, dim, unit_length=config.reduction.l2, folder=scratch)
    print(storage.describe(n, dim), file=sys.stderr, flush=True)
    clusterer = Clusterer(
        images=images,
        view=feature_view(config.view, images, [0.4], [0.25]),
        extraction=config.extraction,
        reduction=config.reduction,
        clustering=config.clustering,
        seed=config.seed,
        num_workers=0,
        storage=storage,
    )
    spent: list[float] = []
    kind = type(config.clustering)  # the clusterer fits a copy of the settings, so the hook is the class's
    fit = kind.fit

    def timed_fit(*arguments: Any, **named: Any) -> Any:
        spent.append(time.process_time())
        try:
            return fit(*arguments, **named)
        finally:
            spent.append(time.process_time())

    kind.fit = timed_fit  # type: ignore[method-assign]
    before, watch = memory(os.getpid()), Watch()
    watch.start()
    spent.append(time.process_time())
    assignment, seconds = clusterer.assign(backbone, device=torch.device("cpu"), moment="benchmark")
    started = time.perf_counter()
    numbers = describe(assignment, assignment, None)
    watch.stop()
    compare_s = time.perf_counter() - started
    shown = torch.arange(0, n, max(1, n // 200_000))
    textures = torch.tensor([images.texture(i) for i in shown.tolist()])
    return {
        "n": n,
        "k": k,
        "p": dim,
        "dtype": storage.dtype_name,
        "on_disk": int(storage.folder is not None),
        "store_mb": storage.n_bytes(n, dim) / 1e6,
        **seconds,
        "compare_s": compare_s,
        "extraction_cpu_s": spent[1] - spent[0],
        "clustering_cpu_s": spent[2] - spent[1],
        "rss_before_mb": before[0] / 1e6,
        "anonymous_before_mb": before[1] / 1e6,
        "peak_rss_mb": watch.rss / 1e6,
        "peak_anonymous_mb": watch.anonymous / 1e6,
        "clusters_used": int(numbers["clusters_used"]),
        "nmi_textures": metrics.nmi(assignment.labels[shown], textures),
        "threads": torch.get_num_threads(),
    }


def measure(file: Path, sizes: list[int], ks: list[int], scratch: Path, overrides: list[str]) -> None:
    """Add the rows that are missing to the csv, the cheap ones first."""
    done = {(int(row["n"]), int(row["k"])) for row in read(file)} if file.exists() else set()
    for n, k in sorted(((n, k) for n in sizes for k in ks), key=lambda pair: (pair[0], pair[1])):
        if (n, k) in done or n < k:
            continue
        print(f"N = {n:,}, K = {k:,}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.scaling", "one", str(n), str(k), "--scratch", str(scratch)]
        ended = subprocess.run([*command, "--", *overrides], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if ended.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}")
        row = json.loads(ended.stdout.splitlines()[-1])
        is_new = not file.exists()
        with file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow({name: f"{v:.4g}" if isinstance(v, float) else v for name, v in row.items()})
        print(json.dumps(row), file=sys.stderr, flush=True)


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def plot(file: Path, picture: Path) -> None:
    """Seconds and memory against N, a line for each K."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(read(file), key=lambda row: (int(row["k"]), int(row["n"])))
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    for k in sorted({int(row["k"]) for row in rows}):
        mine = [row for row in rows if int(row["k"]) == k]
        sizes = [int(row["n"]) for row in mine]
        left.plot(sizes, [float(row["clustering_cpu_s"]) for row in mine], "o-", label=f"K = {k:,}")
        middle.plot(sizes, [float(row["extraction_cpu_s"]) for row in mine], "o-")
        right.plot(sizes, [float(row["peak_anonymous_mb"]) / 1e3 for row in mine], "o-")
        for row in mine:
            if row["on_disk"] == "1":
                right.annotate(
                    "on disk ", (int(row["n"]), float(row["peak_anonymous_mb"]) / 1e3), fontsize=8, ha="right", va="top"
                )
            elif row["dtype"] == "float16":
                right.annotate("float16", (int(row["n"]), float(row["peak_anonymous_mb"]) / 1e3), fontsize=8)
    sizes = sorted({int(row["n"]) for row in rows})
    p, points = rows[0]["p"], 512
    right.plot(sizes, [n * points * 4 / 1e9 for n in sizes], ":", color="gray", label=f"N x {points} alone would be")
    right.plot(sizes, [n * int(p) * 4 / 1e9 for n in sizes], "--", color="gray", label=f"N x {p} in float32")
    left.set_title("k-means and assignment, CPU seconds")
    middle.set_title("extraction and PCA, CPU seconds")
    right.set_title("peak memory (anonymous), GB")
    for axes in (left, middle, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("images N")
        axes.grid(alpha=0.3)
    left.legend()
    right.legend()
    figure.savefig(picture, dpi=110)


def main(words: list[str] | None = None) -> None:
    options = parser(__doc__)
    tasks = options.add_subparsers(dest="task", required=True)
    measuring = tasks.add_parser("measure", help="fill the csv")
    measuring.add_argument("csv", type=Path)
    measuring.add_argument("--n", type=int, nargs="+", required=True, help="numbers of images")
    measuring.add_argument("--k", type=int, nargs="+", required=True, help="numbers of clusters")
    one = tasks.add_parser("one", help="one reassignment, as JSON")
    one.add_argument("n", type=int)
    one.add_argument("k", type=int)
    for each in (measuring, one):
        each.add_argument("--scratch", type=Path, default=Path("."), help="folder for reduced features on disk")
    drawing = tasks.add_parser("plot", help="draw the csv")
    drawing.add_argument("csv", type=Path)
    drawing.add_argument("picture", type=Path)
    arguments = parse(options, words)
    if arguments.task == "plot":
        plot(arguments.csv, arguments.picture)
        return
    if arguments.task == "one":
        print(json.dumps(reassign(arguments.n, arguments.k, arguments.scratch.resolve(), arguments.overrides)))
    else:
        measure(arguments.csv.resolve(), arguments.n, arguments.k, arguments.scratch.resolve(), arguments.overrides)


if __name__ == "__main__":
    main()
