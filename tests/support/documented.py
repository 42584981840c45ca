"""The commands and settings that README, docs and docstrings name, as they stand there."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from support.configs import REPOSITORY

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
STARTS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:python|deepcluster|pip|pytest|torchrun|git|ruff|wandb)\b")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command as a person would type it.

    Args:
        file: where it stands, relative to the repository.
        text: one line, without its comment.
    """

    file: str
    text: str

    @property
    def words(self) -> list[str]:
        """Without the environment's variables before it."""
        return [word for word in shlex.split(self.text) if not re.fullmatch(r"[A-Z_]+=\S*", word)]

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


def commands(files: Iterable[Path]) -> list[Command]:
    """Each command in indented lines and in `...`, once, in the order of the files."""
    met = [Command(str(file.relative_to(REPOSITORY)), text) for file in files for text in _texts(file.read_text())]
    first: dict[str, Command] = {}
    for command in met:
        first.setdefault(command.text, command)
    return list(first.values())


def snippets(file: Path) -> list[str]:
    """The Python snippets of a page."""
    return [code for language, code in FENCE.findall(file.read_text()) if language == "python"]


def inline(text: str) -> Iterator[str]:
    """What stands in `...`, lines joined; blocks of code left out."""
    prose = "\n".join(line for line in FENCE.sub("", text).splitlines() if not line.startswith("    "))
    for code in re.findall(r"`([^`]+)`", prose):
        yield " ".join(code.split())


def _texts(text: str) -> Iterator[str]:
    indented = [line[4:] for line in FENCE.sub("", text).splitlines() if line.startswith("    ")]
    block = "\n".join(indented).replace("\\\n", " ")
    for line in [*block.splitlines(), *inline(text)]:
        for part in line.split("&&"):
            typed = " ".join(re.sub(r"\s#\s.*", "", part).split())
            if STARTS.match(typed) and "<" not in typed and "{" not in typed:
                yield typed
