"""The command `deepcluster`: what it answers at once, and that a wheel holds all it needs outside the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.configs import CONFIGS, REPOSITORY
from support.typed import Finished, Typist

import deepcluster
from deepcluster.app import program
from deepcluster.app.config_folder import configs

SCREEN = 24  # lines
COMMAND = "from deepcluster.app.program import main\nmain()\n"  # what pip writes into bin/deepcluster


def typed(folder: Path, *words: str) -> Finished:
    """deepcluster words."""
    entry = folder / "bin" / "deepcluster"
    entry.parent.mkdir(exist_ok=True)
    entry.write_text(COMMAND)
    typist = Typist(folder)
    typist.n_typed = len(list(folder.glob("typed_*.out")))  # the files of the last command stay its own
    return typist.type(typist.command(entry, *words))[0]


def test_help_fits_on_a_screen_and_loads_nothing() -> None:
    assert len(program.HELP.splitlines()) <= SCREEN
    assert max(map(len, program.HELP.splitlines())) <= 120
    loaded = "import sys; from deepcluster.app import program; print({'hydra', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_version_and_words_that_are_no_command(tmp_path: Path) -> None:
    assert typed(tmp_path, "--version").out == f"deepcluster {deepcluster.__version__}\n"
    assert typed(tmp_path).out == program.HELP + "\n"
    assert "did you mean deepcluster train k=5?" in typed(tmp_path, "trian", "k=5").err
    assert "settings follow a command: deepcluster train clustering.k=5" in typed(tmp_path, "clustering.k=5").err
    (tmp_path / "Fotos 2026 é").mkdir()
    meant = f"did you mean deepcluster '{tmp_path / 'Fotos 2026 é'}' minutes=3?"
    assert meant in typed(tmp_path, str(tmp_path / "Fotos 2026"), "minutes=3").err
    assert "did you mean deepcluster 'Fotos 2026 é'?" in typed(tmp_path, "fotos 2026 é").err


@pytest.mark.slow
@pytest.mark.ddp
def test_a_run_of_two_processes_and_its_evaluation_name_the_command(tmp_path: Path) -> None:
    """The second process is started with the same command; ones own configs stand beside the package's."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    small = "# @package _global_\nclustering:\n  k: 5\nreduction:\n  dim: 8\ntrainer:\n  max_epochs: 1\n"
    (tmp_path / "mine" / "experiment" / "small.yaml").write_text(small)
    words = ["--config-dir", "mine", "experiment=small", "data.limit=240", "output_dir=RUN"]
    two = ["trainer=ddp", "trainer.accelerator=cpu", "evaluation.untrained=false", "evaluation.baselines=false"]
    done = typed(tmp_path, "train", *words, *two)
    assert done.status == 0 and "processes  2" in done.out, done.err
    resume = next(line for line in done.out.splitlines() if "train on:" in line)
    assert f"deepcluster train resume={tmp_path / 'RUN'} trainer.max_epochs=2" in resume
    done = typed(tmp_path, "eval", "ckpt=RUN", "evaluation=export")
    assert done.status == 0 and list((tmp_path / "runs").glob("*/backbone.safetensors")), done.err


def test_the_repository_finds_its_own_configs() -> None:
    assert configs() == CONFIGS


@pytest.mark.slow
def test_a_wheel_works_outside_the_repository(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    package = tmp_path / "site" / "deepcluster"
    shipped = {file.relative_to(package / "configs") for file in (package / "configs").rglob("*.yaml")}
    assert shipped == {file.relative_to(CONFIGS) for file in CONFIGS.rglob("*.yaml")}
    (entry_points,) = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
    assert "deepcluster = deepcluster.app.program:main" in entry_points.read_text()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-c", COMMAND, "eval", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "deepcluster eval ckpt=RUN" in done.stdout and "cluster_quality" in done.stdout
