"""`start=` of `deepcluster DIR`: trained weights to start from, by name, by file, or found on this machine.

Next: folder_command.py makes settings of them. What is found, and how: run/starts.py.
"""

import os

from deepcluster.run.starts import Start, local_starts, named_start

OF_ONES_OWN = ("arch", "init", "experiment", "method")  # groups: where one is typed, start=auto chooses nothing
OF_OUTPUT = ("arch.output", "arch.pool")  # what is read of the network of an ONNX file, which start=FILE names


def start_of(typed: list[str]) -> tuple[str, list[str]]:
    """The value of start=, and the other words.

    Raises:
        ValueError: if it is given twice, or is empty.
    """
    given = [word for word in typed if word.startswith("start=")]
    if len(given) > 1:
        raise ValueError(f"{' '.join(given)}: give one of them")
    value = given[0].partition("=")[2] if given else "auto"
    if not value.strip():
        raise ValueError("start= is empty; give auto, none, the name of a network, or a file of weights")
    return value, [word for word in typed if word not in given]


def choose_start(wanted: str, keys: set[str], *, on_gpu: bool) -> Start | None:
    """The trained weights to start from; None: none.

    Args:
        wanted: the value of start=.
        keys: that were typed: a network or weights of one's own leave nothing to choose.

    Raises:
        ValueError, FileNotFoundError: if the weights that are wanted cannot be had, or exclude what was typed.
    """
    own = sorted(key for key in keys.difference(OF_OUTPUT) if key.partition(".")[0] in OF_ONES_OWN)
    if wanted == "none" or (wanted == "auto" and own):
        return None
    if own:
        raise ValueError(f"start={wanted} chooses network and weights; leave {own[0]}= out, or start=")
    if wanted != "auto":
        return named_start(os.path.expanduser(wanted))
    found = local_starts()
    return None if not found else found[-1 if on_gpu else 0]


def start_told(start: Start | None, wanted: str, keys: set[str]) -> str | None:
    """The start with its reason; None where something of one's own was typed."""
    if start is not None:
        why = "as typed" if wanted != "auto" else "found on this machine; start=none learns without"
        return f"start      {start.called}, {start.file}: {why}"
    if wanted == "none":
        return "start      no trained weights: as typed"
    if any(key.partition(".")[0] in OF_ONES_OWN for key in keys):
        return None
    return "start      no trained weights: none lie on this machine; start=NAME_OR_FILE takes some"
