"""Signals and lost streams, in one small process each: neither prints a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepcluster.system import stop_signals
from deepcluster.system.leftover import STARTED_BY

STOP = """
import os, signal, sys, time
from deepcluster.system import stop_signals
stop_signals.end_quietly()
if sys.argv[2] == "work":
    stop_signals.begin_work()
try:
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(9)
except KeyboardInterrupt:
    assert stop_signals.stopped_by() == int(sys.argv[1])
    print("kept", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(9)
"""
LOST = """
import os, sys
from pathlib import Path
from deepcluster.system import streams
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
os.close(2)
sys.stderr = None
streams.make_lasting()
print("one é")
print("two", file=sys.stderr)
streams.log_to(Path("log"))
print("three")
"""


def python(code: str, folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_work_ends_with_one_line(number: int, tmp_path: Path) -> None:
    done = python(STOP, tmp_path, int(number), "early")
    assert (done.returncode, done.stderr.strip()) == (128 + number, "stopped before the work began")


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    done = python(STOP, tmp_path, int(signal.SIGHUP), "work")
    assert (done.returncode, done.stdout.strip()) == (130, "kept") and done.stderr.strip().startswith("stopped at once")


@pytest.fixture
def as_started_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signals, "_state", stop_signals._State())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.usefixtures("as_started_in_a_terminal")
def test_sighup_is_as_sigterm_while_lightning_trains() -> None:
    received: list[int] = []
    stop_signals.begin_work()
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))  # as Lightning's
    os.kill(os.getpid(), signal.SIGHUP)
    assert received == [signal.SIGTERM] and stop_signals.stopped_by() == signal.SIGHUP
    stop_signals.take_back()
    with pytest.raises(KeyboardInterrupt):  # not lost, if training has ended since
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop_signals.stopped_by() == signal.SIGTERM


@pytest.mark.usefixtures("as_started_in_a_terminal")
def test_a_process_of_lightning_leaves_signals_to_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STARTED_BY, str(os.getppid()))
    stop_signals.begin_work()
    signal.signal(signal.SIGTERM, lambda *_: None)  # as Lightning's, which would broadcast it
    stop_signals.take_back()
    assert {signal.getsignal(number) for number in stop_signals.SIGNALS} == {signal.SIG_IGN}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_what_a_lost_stream_says_goes_to_the_log(tmp_path: Path) -> None:
    done = python(LOST, tmp_path)
    assert done.returncode == 0 and set((tmp_path / "log").read_text().split()) == {"one", "é", "two", "three"}
