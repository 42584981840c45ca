"""What benchmarks share: the settings of a run from overrides, the words of a command, the commit."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir

from deepcluster.settings.train import TrainConfig, register_schemas, train_config

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"


def read_config(overrides: Sequence[str]) -> TrainConfig:
    """The settings of `python train.py OVERRIDES`."""
    register_schemas()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return train_config(compose("train", list(overrides)))


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose --help is the docstring of a benchmark."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def parse(options: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """The options of a benchmark; what follows `--` is train.py's and becomes `overrides`.

    Args:
        words: None for those of the command line.
    """
    words = list(sys.argv[1:] if words is None else words)
    end = words.index("--") if "--" in words else len(words)
    arguments = options.parse_args(words[:end])
    arguments.overrides = words[end + 1 :]
    return arguments


def commit() -> str:
    """The repository's commit, with a + if files differ from it; "unknown" where this is no clone."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
        return git("rev-parse", "--short=9", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
