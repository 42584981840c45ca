"""Paths on a command line: KEY=VALUE as it can be pasted into a shell, and as Hydra can read it."""

import os
import re
from pathlib import Path


def argument(key: str, path: Path) -> str:
    """KEY=PATH for a command line, in quotes if the path holds characters that a shell or Hydra interprets."""
    plain = re.fullmatch(r"[\w/.+@%:-]+", str(path), re.ASCII) is not None
    return f"{key}={path}" if plain else f"""'{key}="{path}"'"""


def with_home(word: str) -> str:
    """KEY=~/PATH or KEY=~USER/PATH with the home folder: shells expand "~" only before a word, and Hydra reads none."""
    match = re.fullmatch(r"([^=]+)=(~[^,'\"\\]*)", word)
    if match is None:
        return word
    key, path = match.groups()
    return f'{key}="{os.path.expanduser(path)}"'
