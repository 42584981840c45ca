"""Integers as Python 2 wrote them, for torch's reader of plain values, which does not know them. Next: checkpoint.py.

A checkpoint that the 2018 code wrote with its optimizer names parameters by their addresses. Python 2 pickles such
numbers, 2^31 and more, as text (opcode INT), which torch's reader refuses; it knows integers in bytes (LONG1).
"""

import mmap
import pickle
import pickletools
from pathlib import Path
from typing import Any

N_PICKLES = 4  # a file of torch before 1.6: magic number, version, system, content; then keys and bytes of tensors


def with_integers_in_bytes(file: Path) -> mmap.mmap | None:
    """A copy of the file in memory, in which integers in text are integers in bytes; pages not changed are the file's.

    The opcodes are only looked through, so no code of the file runs. Each integer keeps its length, by leading zeros.

    Returns:
        The content, to be read from its start, or None if the file has no such integer or another layout.
    """
    try:
        with file.open("rb") as opened:
            content: Any = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        found = False
        for _ in range(N_PICKLES):
            for opcode, value, start in pickletools.genops(content):
                if opcode.name == "INT" and start is not None and value is not None:
                    n_bytes = content.tell() - start - 2  # as many as it has digits, which is enough
                    in_bytes = int(value).to_bytes(n_bytes, "little", signed=True)
                    content[start : content.tell()] = pickle.LONG1 + bytes([n_bytes]) + in_bytes
                    found = True
    except (ValueError, OverflowError):  # not pickles, empty, or cut
        return None
    content.seek(0)
    return content if found else None
