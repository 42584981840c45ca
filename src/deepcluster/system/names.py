"""File names that read alike: macOS writes "é" as two characters, other systems as one."""

import unicodedata


def composed(name: str) -> str:
    """The name in Unicode's normal form C, by which names are put in order and compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def alike(name: str, other: str) -> bool:
    """Whether two names differ at most in how their accents are written."""
    return name == other or composed(name) == composed(other)


def name_order(name: str) -> tuple[str, str]:
    """The key that sorts names alike, however their accents are written."""
    return composed(name), name
