"""Write KEY=VALUE so that it can be pasted into a shell."""

import re
from pathlib import Path


def argument(key: str, path: Path) -> str:
    """KEY=PATH for a command line, in quotes if the path holds characters that a shell or Hydra interprets."""
    plain = re.fullmatch(r"[\w/.+@%:-]+", str(path), re.ASCII) is not None
    return f"{key}={path}" if plain else f"""'{key}="{path}"'"""
