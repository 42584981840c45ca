"""File names that read alike: macOS writes "é" as two characters, other systems as one."""

import unicodedata


def composed(name: str) -> str:
    """The name in Unicode's normal form C, by which names are put in order and compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def name_order(name: str) -> tuple[str, str]:
    """The key that sorts names alike, however their accents are written."""
    return composed(name), name
