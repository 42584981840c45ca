"""The list of evaluations in `eval.py --help`: each with the comment at the top of its file in configs/evaluation."""

import re
import textwrap
from pathlib import Path

from deepcluster.evaluation.evaluator import Evaluator

WIDTH = 110
HEADINGS = ("numbers", "pictures", "files")  # the values of Evaluator.makes, in the order of the list


def list_evaluations(folder: Path, classes: dict[str, type[Evaluator]]) -> str:
    """The evaluations under what they make, each on one or two lines.

    Args:
        folder: configs/evaluation.
        classes: kind -> class: EVAL_OPTIONS["evaluation"] of settings/options.py.
    """
    options: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
    for file in sorted(folder.glob("*.yaml")):
        evaluator = classes.get(kind_of(file), Evaluator)
        options[evaluator.makes].append((file.stem, first_comment(file)))
    width = max(len(name) for group in options.values() for name, _ in group)
    lines = []
    for heading, group in options.items():
        if group:
            lines.append(f"  {heading}")
        for name, comment in group:
            head = f"    {name:{width}}  "
            lines += textwrap.wrap(comment, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)) or [head]
    return "\n".join(lines)


def first_comment(file: Path) -> str:
    """The first line of a config file without its `#`; empty if it is no comment."""
    first_line = file.read_text().partition("\n")[0]
    return first_line.lstrip("# ").strip() if first_line.startswith("#") else ""


def kind_of(file: Path) -> str:
    """The kind that an option's file names, itself or in the option that it starts from; empty if none does."""
    text = file.read_text()
    named = re.search(r"/evaluation_(\w+)@_here_", text)
    if named is not None:
        return named[1]
    base = re.search(r"^\s*(?:defaults:\s*\[\s*|-\s+)(\w+)", text, re.MULTILINE)  # defaults: [other, _self_]
    base_file = file if base is None else file.with_name(f"{base[1]}.yaml")
    return kind_of(base_file) if base_file != file and base_file.is_file() else ""
