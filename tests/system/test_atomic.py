"""A folder that one process at a time writes to."""

import os
from pathlib import Path

import pytest

from deepcluster.system.atomic import locked, read_json


def other_process_may_hold(folder: Path) -> bool:
    child = os.fork()
    if child == 0:
        status = 2
        try:
            with locked(folder):
                status = 0
        except ValueError as error:
            status = 1 if "another process is running in" in str(error) else 2
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1)
    return status == 0


def test_a_damaged_json_file_is_named(tmp_path: Path) -> None:
    assert read_json(tmp_path / "summary.json") == {}
    (tmp_path / "summary.json").write_text('{"k": 5}')
    assert read_json(tmp_path / "summary.json") == {"k": 5}
    for content in (b'{"k"', b"\xff\xfe"):
        (tmp_path / "summary.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"summary\.json is damaged \(.*delete it to go on without it"):
            read_json(tmp_path / "summary.json")


def test_a_folder_is_held_by_one_process_and_free_afterwards(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        assert not other_process_may_hold(tmp_path / "run")
        assert other_process_may_hold(tmp_path / "another")
    assert other_process_may_hold(tmp_path / "run")


def test_a_folder_is_free_when_its_process_was_killed_but_its_workers_live(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(tmp_path):
            if os.fork() == 0:  # a worker, which lives on
                os.close(writer)
                os.read(reader, 1)
            os._exit(9)
    os.close(reader)
    os.waitpid(child, 0)
    assert other_process_may_hold(tmp_path)
    os.close(writer)
