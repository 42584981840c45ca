"""How a KEY=VALUE is written so that a person can paste it into a shell."""

import re
from pathlib import Path


def argument(key: str, path: Path) -> str:
    """KEY=PATH as it can be typed: in quotes where the path holds characters that a shell or Hydra interprets."""
    plain = re.fullmatch(r"[\w/.+@%:-]+", str(path), re.ASCII) is not None
    return f"{key}={path}" if plain else f"""'{key}="{path}"'"""
