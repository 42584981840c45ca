"""The process that types commands for the tests: its death is told, not waited for."""

from pathlib import Path

import pytest
from support.typed import Server, Typist


def test_a_server_that_dies_while_importing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken" / "pytorch_lightning"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import os; os._exit(7)")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    typist = Typist(tmp_path, Server())
    with pytest.raises(RuntimeError, match="ended with status 7"):
        typist.eval("--help")
    with pytest.raises(RuntimeError, match="ended with status 7"):  # now the pipe is broken
        typist.eval("--help")
    typist.server.close()
