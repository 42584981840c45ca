import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deepcluster.clustering import faiss_index, kmeans_faiss, kmeans_shares
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.share import Share
from deepcluster.system.processor import SKYLAKEX_FLAGS, openblas_core

ZEN5 = ("AuthenticAMD", SKYLAKEX_FLAGS | {"avx512_bf16"})


def advice_at_import(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str | None:
    """What a stand-in for faiss sees in OPENBLAS_CORETYPE while it is imported."""
    (folder / "faiss.py").write_text("import os\nadvice = os.environ.get('OPENBLAS_CORETYPE')\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    advice: str | None = faiss_index.load_faiss().advice
    del sys.modules["faiss"]  # not by monkeypatch, which would bring the stand-in back
    return advice


def test_only_amd_with_avx512_is_told_its_kernels() -> None:
    assert openblas_core(*ZEN5) == "SkylakeX"
    assert openblas_core("AuthenticAMD", frozenset({"avx2", "avx512f"})) is None
    assert openblas_core("GenuineIntel", SKYLAKEX_FLAGS | {"amx_bf16"}) is None


def test_advice_is_there_while_faiss_loads_and_gone_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(faiss_index, "vendor_and_flags", lambda: ZEN5)
    assert advice_at_import(monkeypatch, tmp_path) == "SkylakeX"
    assert "OPENBLAS_CORETYPE" not in os.environ


def test_a_variable_that_is_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr(faiss_index, "vendor_and_flags", lambda: ZEN5)
    assert advice_at_import(monkeypatch, tmp_path) == "Haswell"
    assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"


def test_importing_the_room_does_not_import_faiss() -> None:
    """Loader workers import modules; faiss in a forked worker hangs."""
    code = "import sys; from deepcluster.clustering import kmeans_fit, pic_fit; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_index_takes_tensors_and_gives_the_nearest_rows_as_a_tensor() -> None:
    generator = torch.Generator().manual_seed(3)
    rows, queries = torch.randn(200, 8, generator=generator), torch.randn(30, 16, generator=generator)[:, ::2]
    index = faiss_index.FlatIndex(8, torch.device("cpu"))
    index.fill(torch.zeros(7, 8))
    index.fill(rows)  # in place of the zeros
    nearest = index.search(queries, 3)
    assert nearest.dtype == torch.int64 and nearest.device == rows.device
    assert torch.equal(nearest, torch.cdist(queries.double(), rows.double()).argsort(dim=1)[:, :3])


@pytest.mark.parametrize("settings", [{}, {"spherical": True}, {"max_points_per_centroid": 20}])
def test_iterations_as_on_a_gpu_give_the_centroids_of_faisss_own(settings: dict[str, int]) -> None:
    """On a GPU faiss searches and torch updates the centroids; here on the CPU."""
    features = torch.randn(1500, 8, generator=torch.Generator().manual_seed(3))
    share = Share(features, len(features), Ranks(), torch.device("cpu"))
    there = kmeans_shares.lloyd(share, 30, engine="faiss", n_iter=8, seed=5, **settings)  # type: ignore[arg-type]
    own = kmeans_faiss.lloyd(features, 30, n_iter=8, seed=5, **settings)  # type: ignore[arg-type]
    torch.testing.assert_close(there, own, atol=1e-5, rtol=0)
