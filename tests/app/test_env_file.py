"""A .env of any encoding is read, or one sentence tells the line."""

import os
from pathlib import Path

import pytest

from deepcluster.app.env_file import read_env_file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_any_unicode_is_read(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHELL_13", raising=False)
    monkeypatch.setenv("SHELL_13", "")
    del os.environ["SHELL_13"]
    (tmp_path / ".env").write_bytes('# x\r\nexport SHELL_13="a é"\r\n'.encode(encoding))
    assert read_env_file(tmp_path / ".env") == [] and os.environ["SHELL_13"] == "a é"


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL_13", "set before")
    (tmp_path / ".env").write_bytes(b"SHELL_13=caf\xe9\nexport B='b\n")
    notes = read_env_file(tmp_path / ".env")
    assert "line 1 is not UTF-8" in notes[0] and "line 2" in notes[1] and os.environ["SHELL_13"] == "set before"
    assert read_env_file(tmp_path) == []  # a folder
