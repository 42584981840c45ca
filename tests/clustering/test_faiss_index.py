import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepcluster.clustering import faiss_index
from deepcluster.system.processor import SKYLAKEX_FLAGS, openblas_core

ZEN5 = ("AuthenticAMD", SKYLAKEX_FLAGS | {"avx512_bf16"})


def advice_at_import(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str | None:
    """What a stand-in for faiss sees in OPENBLAS_CORETYPE while it is imported."""
    (folder / "faiss.py").write_text("import os\nadvice = os.environ.get('OPENBLAS_CORETYPE')\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    advice: str | None = faiss_index.load_faiss().advice
    monkeypatch.delitem(sys.modules, "faiss")
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
    code = "import sys, deepcluster.clustering.kmeans; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
