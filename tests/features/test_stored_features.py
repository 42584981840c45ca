"""Features in float16 or mapped from a file are clustered where they are, in blocks: what comes out, and its memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import assignment, kmeans_fit, kmeans_torch, metrics, repair
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.pic import PIC

BACKENDS = ["faiss", "torch"]


def features(n: int = 3001, dim: int = 24, spread: float = 1.2) -> Tensor:
    draw = torch.Generator().manual_seed(4)
    centres = torch.randn(40, dim, generator=draw)
    return normalize(centres[torch.randint(40, (n,), generator=draw)] + spread * torch.randn(n, dim, generator=draw))


def mapped(whole: Tensor, folder: Path) -> Tensor:
    file = torch.from_file(str(folder / "features"), shared=True, size=whole.numel(), dtype=whole.dtype)
    file.copy_(whole.flatten())
    return file.view(whole.shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sample", [None, 13])
def test_float16_is_clustered_as_its_float32_copy(backend: str, sample: int | None) -> None:
    half = features().half()
    kmeans = KMeans(k=50, n_iter=8, backend=backend, max_points_per_centroid=sample)
    stored, copied = kmeans.fit(half, seed=3), kmeans.fit(half.float(), seed=3)
    assert torch.equal(stored.labels, copied.labels) and torch.equal(stored.centroids, copied.centroids)
    assert stored.objective == copied.objective


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_mapped_file_is_clustered_as_memory(backend: str, dtype: torch.dtype, tmp_path: Path) -> None:
    whole = features().to(dtype)
    kmeans = KMeans(k=50, n_iter=8, backend=backend)
    stored, there = kmeans.fit(mapped(whole, tmp_path), seed=3), kmeans.fit(whole, seed=3)
    assert torch.equal(stored.labels, there.labels) and torch.equal(stored.centroids, there.centroids)


def test_float16_moves_fewer_images_than_another_start() -> None:
    """Broad clusters, where rounding has something to decide."""
    whole, kmeans = features(n=6000), KMeans(k=60)
    first, other = kmeans.fit(whole, seed=1).labels, kmeans.fit(whole, seed=2).labels
    rounded = kmeans.fit(whole.half(), seed=1)
    assert metrics.nmi(first, rounded.labels) > metrics.nmi(first, other) + 0.02
    assert rounded.objective == pytest.approx(kmeans.fit(whole, seed=1).objective, rel=0.002)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_features_that_a_gpu_has_no_room_for_go_there_in_blocks(
    backend: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, kmeans = features().to(dtype), KMeans(k=50, n_iter=8, backend=backend)
    there = kmeans.fit(whole, seed=3, device="cuda")
    monkeypatch.setattr(kmeans_fit, "DEVICE_SHARE", 0.0)
    blocks = kmeans.fit(whole, seed=3, device="cuda")
    assert torch.equal(blocks.labels, there.labels) and torch.equal(blocks.centroids, there.centroids)


def test_pic_takes_float16_as_its_float32_copy() -> None:
    half = features(400).half()
    assert torch.equal(PIC().fit(half, seed=0).labels, PIC().fit(half.float(), seed=0).labels)


@pytest.mark.parametrize("rows", [1, 7, 1000, 3001])
def test_any_block_gives_the_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """3001 images: no block but the whole divides them."""
    whole, k = features(), 30
    start = whole[:k].clone()
    nearest = assignment.nearest_centroid(whole, start)
    objective = assignment.squared_distance(whole, nearest, start)
    centroids, sizes = kmeans_torch.means(whole, nearest, k)
    monkeypatch.setattr(assignment, "SCORES_PER_BLOCK", rows * k)
    monkeypatch.setattr(assignment, "ROWS_PER_BLOCK", rows)
    monkeypatch.setattr(kmeans_torch, "ROWS_PER_BLOCK", rows)
    assert torch.equal(assignment.nearest_centroid(whole, start), nearest)
    assert assignment.squared_distance(whole, nearest, start) == pytest.approx(objective, rel=1e-12)
    again, counts = kmeans_torch.means(whole, nearest, k)
    assert torch.equal(counts, sizes) and torch.allclose(again, centroids, rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_a_large_cluster_is_halved_in_blocks_as_at_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = features()
    labels = torch.zeros(len(whole), dtype=torch.int64)
    expected = repair.repair_empty(whole, labels, whole[:5])
    monkeypatch.setattr(repair, "NUMBERS_PER_BLOCK", rows * whole.shape[1])
    found = repair.repair_empty(whole, labels, whole[:5])
    assert torch.equal(found[0], expected[0]) and torch.allclose(found[1], expected[1], atol=1e-6)
    plain = repair.repair_empty(whole.half(), labels, whole[:5])  # float16 rows are ranked by their float32 copies
    assert torch.equal(plain[0], repair.repair_empty(whole.half().float(), labels, whole[:5])[0])


N, DIM = 600_000, 128
CHILD = """
import sys
from pathlib import Path
import torch
from deepcluster.clustering import assignment, kmeans, kmeans_fit
from deepcluster.clustering.faiss_index import load_faiss

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

n, dim, how = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
features = torch.from_file(sys.argv[1], shared=True, size=n * dim, dtype=torch.float16).view(n, dim)
load_faiss()
clustering = kmeans.KMeans(k=20, n_iter=2, max_points_per_centroid=100)
clustering.fit(features[:3000], seed=0)  # libraries and threads take what they take
if how == "whole":  # as it was before features were read in blocks
    blocks = kmeans_fit.nearest_centroid
    kmeans_fit.nearest_centroid = lambda features, centroids: blocks(features.float(), centroids)
peak = [before := anonymous()]
old = assignment.read_rows
def read_rows(*arguments):
    peak.append(max(peak.pop(), anonymous()))
    return old(*arguments)
assignment.read_rows = read_rows
clustering.fit(features, seed=0)
print((peak[-1] - before) // 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc")
def test_the_memory_of_clustering_is_that_of_the_sample_and_of_blocks(tmp_path: Path) -> None:
    """The features are 146 MiB on disk and would be 293 MiB in float32; a block of them is 64 MiB."""
    file = tmp_path / "features"
    stored = torch.from_file(str(file), shared=True, size=N * DIM, dtype=torch.float16)
    stored.view(-1, 3200).copy_(normalize(torch.randn(3200, generator=torch.Generator().manual_seed(0)), dim=0))

    def grown(how: str) -> int:
        command = [sys.executable, "-c", CHILD, str(file), str(N), str(DIM), how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)

    assert grown("blocks") < 130
    assert grown("whole") > 290  # the same measurement sees the copy that was made before
