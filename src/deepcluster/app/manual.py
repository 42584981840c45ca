"""What `eval.py --help` lists: the evaluations, each by the comment at the top of its file in configs/evaluation."""

import re
import textwrap
from pathlib import Path
from typing import Any

from deepcluster.evaluation.evaluator import Evaluator

WIDTH = 110
# The room of the class that does the work says what comes out of it.
ROOMS = {"deepcluster.evaluation.": "numbers", "deepcluster.visualization.": "pictures"}
KINDS = ("numbers", "pictures", "files")
FILES = ("assign", "export")  # they stand in evaluation/, but are called for their files


def listed(folder: Path, kinds: dict[str, type]) -> str:
    """The options of a group, grouped by what they make, one line or two each.

    Args:
        folder: configs/GROUP.
        kinds: the classes by kind: EVAL_OPTIONS of the group.
    """
    options: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
    for file in sorted(folder.glob("*.yaml")):
        options[_makes(file, kinds)].append((file.stem, comment(file)))
    width = max(len(name) for group in options.values() for name, _ in group)
    lines = []
    for kind in KINDS:
        if options[kind]:
            lines.append(f"  {kind}")
        for name, text in options[kind]:
            head = f"    {name:{width}}  "
            lines += textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)) or [head]
    return "\n".join(lines)


def comment(file: Path) -> str:
    """The first line of a config file, if it is a comment: what the option does."""
    first = file.read_text().partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _makes(file: Path, kinds: dict[str, type]) -> str:
    """numbers, pictures or files."""
    text = file.read_text()
    named = re.search(r"/evaluation_(\w+)@_here_", text)
    if named is None:  # a variant of another option: defaults: [other, _self_]
        other = re.search(r"^\s*(?:defaults:\s*\[\s*|-\s+)(\w+)", text, re.MULTILINE)
        base = None if other is None else file.with_name(f"{other[1]}.yaml")
        return KINDS[0] if base is None or base == file or not base.is_file() else _makes(base, kinds)
    kind = named[1]
    if kind in FILES or kind not in kinds:
        return "files"
    # A class of visualization/ that extends one of evaluation/ adds a picture to its numbers: it stands with numbers.
    modules = [parent.__module__ for parent in kinds[kind].__mro__ if parent is not Evaluator]
    return next((makes for room, makes in ROOMS.items() if any(m.startswith(room) for m in modules)), "files")


def config_folder(sources: Any) -> Path:
    """The folder of config files among hydra.runtime.config_sources."""
    return next(Path(source.path) for source in sources if source.provider == "main")
