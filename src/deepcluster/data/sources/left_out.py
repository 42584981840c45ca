"""What is left out of a folder, counted while it is walked and told in a few lines. Used by index.py."""

import functools
import logging
from collections import Counter
from collections.abc import Iterable

from deepcluster.data.sources.photographs import EXTENSIONS

_N_NAMED = 5
_log = logging.getLogger(__name__)

LeftOut = Counter[tuple[str, str]]  # (one of the reasons below, what: a format, a folder's name, a path) -> how many

FORMAT, DENIED, LINK, LONG = "format", "denied", "link", "long"
SYSTEM, HIDDEN_FOLDER, HIDDEN_FILE, OURS, THUMBNAILS = "system", "hidden folder", "hidden file", "ours", "thumbnails"
_WARNINGS = {  # reason -> sentence of {n} and {names}
    FORMAT: f"{{names}} files (formats that are not read; convert them to one of {' '.join(EXTENSIONS)})",
    DENIED: "{n} folders that may not be read (no permission): {names}",
    LINK: "{n} links that lead to themselves or to a folder that is read already: {names}",
    LONG: "{n} folders and files with longer paths than the system allows: {names}",
}
_NOTES = {
    SYSTEM: "{names} folders (systems and programs keep them for themselves)",
    HIDDEN_FOLDER: "{n} hidden folders",
    HIDDEN_FILE: "{n} hidden image files",
    OURS: "{n} folders of runs and results: {names}",
    THUMBNAILS: "{n} folders of thumbnails of the images beside them: {names}",
}
_COUNTED = (FORMAT, SYSTEM)  # told as "12 .heic, 3 .cr2"


def report(root: str, left_out: LeftOut) -> None:
    """Say once in this process what is left out of a folder, and why."""
    for level, sentences in ((logging.WARNING, _WARNINGS), (logging.INFO, _NOTES)):
        parts = [_part(reason, sentence, left_out) for reason, sentence in sentences.items()]
        if any(parts):
            say_once(level, f"{root}: left out: {'; '.join(part for part in parts if part)}")


@functools.cache
def say_once(level: int, line: str) -> None:
    """Log a line unless this process has: both splits of a set are looked for several times."""
    _log.log(level, "%s", line)


def _part(reason: str, sentence: str, left_out: LeftOut) -> str:
    counts = {what: n for (why, what), n in left_out.items() if why == reason}
    if not counts:
        return ""
    if reason in _COUNTED:
        by_number = sorted(counts, key=lambda what: (-counts[what], what))
        return sentence.format(names=", ".join(f"{counts[what]:,} {what}" for what in by_number))
    return sentence.format(n=f"{sum(counts.values()):,}", names=_named(counts))


def _named(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:_N_NAMED]) + (", ..." if len(names) > _N_NAMED else "")
