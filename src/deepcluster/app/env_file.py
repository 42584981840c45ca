"""Read .env in the folder where one stands: NAME=VALUE lines, in any usual encoding. hydra_setup.py calls it."""

import codecs
import io
import os
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream


def read_env_file(file: Path) -> list[str]:
    """Set the environment variables that the file names and that are not set.

    Returns:
        A sentence for each line that is left out, and for a file that cannot be read; empty if all is well.
    """
    if not file.is_file():  # a folder of this name is a virtual environment
        return []
    try:
        text, note = _decode(file.read_bytes())
    except OSError as error:
        return [f"{file} cannot be read ({error.strerror}); its variables are not set"]
    notes = [f"{file}: {note}"] if note else []
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            line = binding.original.string.strip().partition("\n")[0].partition("=")[0]
            first = binding.original.line + len(binding.original.string) - len(binding.original.string.lstrip("\n"))
            notes.append(f"{file}, line {first} ({line}...) is not NAME=VALUE; it is left out")
    for name, value in dotenv_values(stream=io.StringIO(text)).items():
        if value is not None and "\0" not in name + value:
            os.environ.setdefault(name, value)
    return notes


def _decode(content: bytes) -> tuple[str, str]:
    """The text, and a note where the encoding had to be guessed."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return content.decode(encoding, "replace"), ""
    if b"\0" in content[:64]:  # without a mark: the zero byte of an ASCII letter stands first or last
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le", "replace"), ""
    try:
        return content.decode(), ""
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return content.decode("latin-1"), f"line {line} is not UTF-8; the file is read as Latin-1"
