"""How a page of very many pictures opens and what it holds in memory, in headless Chromium.

    python -m benchmarks.page --n 100000 --k 1000 --folder DIR

Pictures are painted (a colour and some blocks for each), rows are drawn around K centres, so no network runs: the time
to write is that of thumbnails, neighbours and map. Then Chromium opens the page from the disk and walks through it;
memory is what its renderer process holds for itself (Private_Clean and Private_Dirty of smaps_rollup). That counts the
decoded images which Chromium keeps as long as nothing needs the memory, so at the end it is told that memory is short.
`--keep` measures the page that an earlier call wrote.
"""

import argparse
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.chromium import Tab, chromium, program
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Folder
from deepcluster.data.view_settings import View
from deepcluster.evaluation.clusters.clustered_images import ClusteredImages
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.settings import Extraction
from deepcluster.models.lenet import LeNet5
from deepcluster.system.progress import Progress
from deepcluster.visualization.page.make import PageMaker
from deepcluster.weights.recognise import Weights

DIM, SIDE, N_CLASSES = 64, 96, 20
CARD = {"in_channels": 3, "image_size": SIDE, "resize": SIDE, "mean": [0.5] * 3, "std": [0.25] * 3}
MB = 2**20


@dataclass
class Painted:
    """N pictures that are painted when they are read: blocks about the colour of their cluster."""

    clusters: Tensor
    n_channels: int = 3
    skipped: list[tuple[str, str]] = field(default_factory=list)
    contents: Tensor | None = None

    def __post_init__(self) -> None:
        self.samples = [f"album {i // 500:03d}/IMG_{i:07d}.jpg" for i in range(len(self))]
        self.labels: Tensor | None = self.clusters % N_CLASSES
        self.classes: list[str] | None = [f"kind {c}" for c in range(N_CLASSES)]

    def __len__(self) -> int:
        return len(self.clusters)

    def read(self, i: int) -> Tensor:
        generator = torch.Generator().manual_seed(i)
        colour = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(int(self.clusters[i])))
        blocks = (colour + 0.5 * torch.rand(3, 8, 8, generator=generator)) / 1.5
        return (255 * blocks).to(torch.uint8).repeat_interleave(SIDE // 8, 1).repeat_interleave(SIDE // 8, 2)


def write(folder: Path, n: int, k: int) -> Path:
    """Write a page of n pictures in k clusters of different sizes; returns its index.html."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(k, DIM, generator=generator)
    clusters = torch.multinomial(torch.rand(k, generator=generator) + 0.1, n, replacement=True, generator=generator)
    clusters[:k] = torch.arange(k)
    rows = centres[clusters] + 0.6 * torch.randn(n, DIM, generator=generator)
    distances = (rows - centres[clusters]).norm(dim=1)
    context = EvaluationContext(
        backbone=LeNet5(3, SIDE),
        stored=Weights(path=folder / "checkpoints" / "final.ckpt", format="painted", tensors={}, card=CARD),
        data_settings=Folder(root=str(folder / "pictures")),
        reading=Reading(num_workers=0),
        view=View(size=SIDE, resize=SIDE),
        extraction=Extraction(),
        folder=folder,
        seed=1,
        progress=Progress(),
        device=torch.device("cpu"),
    )
    clustering = ClusteredImages(clusters=clusters, distances=distances, k=k, own=True, nearest_share=1.0)
    maker = PageMaker(
        context=context,
        images=Painted(clusters),
        clustering=clustering,
        thumbnail=SIDE,
        n_similar=12,
        is_of_run=False,
    )
    maker.write(rows)
    return folder / "page" / "index.html"


def private_bytes(pids: list[int]) -> int:
    """What the largest of these processes holds for itself alone."""
    sizes = []
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        sizes.append(1024 * sum(int(kb) for kb in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", text, re.MULTILINE)))
    return max(sizes)


def tell(what: str, started: float, tab: Tab) -> None:
    heap = tab.run("performance.memory.usedJSHeapSize")
    print(f"{what:28} {time.perf_counter() - started:6.2f} s  {private_bytes(tab.renderers()) / MB:6.0f} MB, "
          f"JavaScript {heap / MB:4.0f} MB", flush=True)  # fmt: skip


def walk(index: Path, tab: Tab) -> None:
    """Open the page and go through its parts; print seconds and memory after each."""
    started = time.perf_counter()
    tab.open(index.resolve().as_uri())
    tab.wait("document.querySelector('.facts') && document.querySelectorAll('.cover').length")
    tell("open", started, tab)
    started = time.perf_counter()
    tab.run("location.hash = '#/map'")
    tab.wait("document.querySelector('div.map .top')")
    tab.run("new Promise(requestAnimationFrame)")
    tell("map", started, tab)
    started, steps = time.perf_counter(), 40
    for step in range(steps):
        tab.wheel(500, 450, -120 if step < 24 else 60)
    tab.run("new Promise(requestAnimationFrame)")
    tell(f"{steps} steps of zoom", started, tab)
    dots = "const {x, y} = await load('map'); const dots = new Dots(document.querySelector('div.map canvas'), x, y)"
    fit = "dots.colours = clusterColours(); dots.fit(); const from = performance.now()"
    draw = "for (let i = 0; i < 20; i++) { dots.move(1, 0); dots.draw() }"
    frame = tab.run(f"(async () => {{ {dots}; {fit}; {draw}; return (performance.now() - from) / 20 }})()")
    print(f"{'a frame of all points':28} {frame:6.1f} ms")
    started = time.perf_counter()
    tab.run("location.hash = '#/clusters'")
    tab.wait("document.querySelectorAll('.cluster').length")
    tell("clusters", started, tab)
    started = time.perf_counter()
    for _ in range(40):
        tab.run("window.scrollTo(0, document.documentElement.scrollHeight)")
        tab.run("new Promise(requestAnimationFrame)")
    tell("scrolled", started, tab)
    started = time.perf_counter()
    for number in range(tab.run("Math.min(20, overview.k)")):
        tab.run(f"location.hash = '#/cluster/{number}'")
        tab.wait(f"document.querySelector('h1')?.textContent === 'Cluster {number}' && document.querySelector('.tile')")
        tab.run(f"location.hash = '#/cluster/{number}?picture=' + starts[{number}]")
        tab.wait("document.querySelectorAll('aside .tile').length === 12")
    tell("20 clusters and pictures", started, tab)
    started = time.perf_counter()
    tab.run("location.hash = '#/search/IMG_00%2017'")
    tab.wait("document.querySelectorAll('main .tile').length")
    tell("search", started, tab)
    tab.memory_is_short()
    time.sleep(2)
    tell("memory is short", started, tab)
    assert not [error for error in tab.errors if "pictures/" not in error], tab.errors


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--keep", action="store_true", help="measure the page that is there")
    given = parser.parse_args(words)
    index = given.folder / "page" / "index.html"
    if not given.keep:
        started, cpu = time.perf_counter(), time.process_time()
        index = write(given.folder, given.n, given.k)
        print(f"written in {time.perf_counter() - started:.0f} s ({time.process_time() - cpu:.0f} s of a processor)")
    files = [file for file in index.parent.rglob("*") if file.is_file()]
    print(f"{len(files):,} files, {sum(file.stat().st_size for file in files) / MB:,.0f} MB")
    if program() is None:
        print("no Chromium on PATH: the page is not opened")
        return
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as tab:
        walk(index, tab)


if __name__ == "__main__":
    main()
