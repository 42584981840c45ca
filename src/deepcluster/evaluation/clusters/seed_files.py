"""Results of finished seeds in a folder, so that a second call goes on. Used by initial_alignment.py."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.system.atomic import write_atomically


class SeedFiles:
    """FOLDER/seeds/seed_7.pt for each finished seed, whole or not at all, and settings.json, which all share.

    Args:
        folder: of the evaluation.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "seeds"

    def begin(self, settings: dict[str, Any], *, may_change: str) -> None:
        """Write what the seeds have in common, or check that those that are here share it.

        Args:
            settings: what JSON can hold.
            may_change: for the message, what another call may change.

        Raises:
            ValueError: if the folder holds seeds of other settings; names those that differ.
        """
        file = self.folder / "settings.json"
        wanted = json.loads(json.dumps(settings))
        if not file.is_file():
            write_atomically(file, (json.dumps(wanted, indent=2) + "\n").encode())
            return
        stored = json.loads(file.read_text())
        differing = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
        if differing:
            raise ValueError(
                f"{self.folder} holds seeds of other settings ({', '.join(differing)} differ); choose another "
                f"output_dir, or change only {may_change}"
            )

    def has(self, seed: int) -> bool:
        return self._file(seed).is_file()

    def write(self, seed: int, rows: list[dict[str, Any]], clusters: Tensor) -> None:
        """Keep a seed: its rows, one for each setting, and clusters (settings, N)."""
        buffer = io.BytesIO()
        torch.save({"rows": rows, "clusters": clusters}, buffer)
        write_atomically(self._file(seed), buffer.getbuffer())

    def rows(self, seeds: list[int]) -> list[dict[str, Any]]:
        """The seeds' rows, one after the other."""
        return [row for seed in seeds for row in self._read(seed)["rows"]]

    def clusters(self, seed: int) -> Tensor:
        """(settings, N)."""
        found: Tensor = self._read(seed)["clusters"]
        return found

    def _read(self, seed: int) -> dict[str, Any]:
        try:
            found: dict[str, Any] = torch.load(self._file(seed), weights_only=True)
        except (RuntimeError, EOFError, ValueError) as error:
            raise ValueError(f"{self._file(seed)} is damaged; delete it, and it is computed again") from error
        return found

    def _file(self, seed: int) -> Path:
        return self.folder / f"seed_{seed}.pt"
