"""What is typed wrong, `--help` and `--cfg job` are answered before torch is loaded, which takes seconds."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.configs import REPOSITORY
from support.typed import clean_environment

HEAVY = {"torch", "scipy", "sklearn", "pytorch_lightning", "torchvision", "pyarrow", "matplotlib", "pandas", "faiss"}
ENTRY = """
import json, runpy, sys
entry, report, *arguments = sys.argv[1:]
sys.argv = [entry, *arguments]
try:
    runpy.run_path(entry, run_name="__main__")
finally:
    with open(report, "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def answered(folder: Path, entry: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """How `python entry arguments` ended, and the modules that it had loaded."""
    report = folder / "modules.json"
    command = [sys.executable, "-c", ENTRY, str(REPOSITORY / entry), str(report), *arguments]
    done = subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=300)
    return done, set(json.loads(report.read_text()))


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ("train.py --help", 0, "clustering"),
        ("train.py --cfg job", 0, "clustering:"),
        ("train.py clustering.k=60 --cfg job", 0, "k: 60"),
        ("train.py clustering.kk=5", 1, "there is no key clustering.kk"),
        ("train.py data.sise=28", 1, "there is no key data.sise; did you mean view.size?"),
        ("train.py callbacks.lr._target_=a.B", 1, "no key callbacks.lr yet; a plus adds it: +callbacks.lr"),
        ("train.py clustering=kmeens", 1, "did you mean kmeans?"),
        ("train.py clustering.k=1", 1, "clustering.k must be at least 2"),
        ("train.py clustering.k=many", 1, "clustering.k must be an integer"),
        ("train.py clustering.k=[", 1, "cannot be read"),
        ("train.py resume=nowhere", 1, "no run there"),
        (
            "train.py -m clustering.k=1,5",
            1,
            "clustering.k=1 experiment=small_images: clustering.k must be at least 2",
        ),
        ("train.py -m clustering.kk=4,5", 1, "there is no key clustering.kk"),
        ("eval.py --help", 0, "voc07"),
        ("eval.py --cfg job", 0, "evaluation:"),
        ("eval.py", 1, "add ckpt="),
        ("eval.py evaluation=kn", 1, "did you mean knn?"),
        ("eval.py evaluation=knn evaluation.kk=5", 1, "there is no key evaluation.kk"),
    ],
)
def test_an_answer_that_needs_no_network_loads_none(typed: str, status: int, said: str, tmp_path: Path) -> None:
    done, loaded = answered(tmp_path, *typed.split())
    assert done.returncode == status and said in done.stdout + done.stderr, done.stderr
    assert not HEAVY & loaded


def test_output_that_nobody_reads_on_ends_quietly(tmp_path: Path) -> None:
    """As in `python train.py --help | head -3`."""
    command = [sys.executable, str(REPOSITORY / "train.py"), "--help"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("typed", ["train.py --help", "train.py clustering.kk=5", "eval.py --cfg job"])
def test_such_an_answer_takes_less_than_two_seconds(typed: str, tmp_path: Path) -> None:
    """Of processor time, as other work may occupy the machine; it takes about 0.7 s."""
    answered(tmp_path, *typed.split())  # Python compiles what it has not yet
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answered(tmp_path, *typed.split())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
