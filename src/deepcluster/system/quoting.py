"""Write KEY=VALUE so that a shell and Hydra give the value back as it is: commands to paste, and paths as typed."""

import os
import re
import shlex
from pathlib import Path

_PLAIN = r"[\w/.+@%:-]+"
_READ_OTHERWISE = r"(?i)null|true|false|nan|[+-]?inf(inity)?|[+-]?[\d._]+(e[+-]?\d+)?"  # by Hydra: not as text


def argument(key: str, value: str | Path) -> str:
    """KEY=VALUE to paste into a shell, in quotes if it holds characters that a shell or Hydra interprets."""
    return shlex.quote(override(key, str(value)))


def override(key: str, text: str) -> str:
    """KEY=TEXT in Hydra's grammar, whatever the text holds.

    >>> override("resume", "runs/a"), override("resume", "k=4")
    ('resume=runs/a', 'resume="k=4"')
    """
    if re.fullmatch(_PLAIN, text, re.ASCII) and not re.fullmatch(_READ_OTHERWISE, text):
        return f"{key}={text}"
    if text == "???":  # OmegaConf's word for a missing value
        text = "./???"
    # OmegaConf reads ${...} inside quotes too, unless an odd number of backslashes stands before it
    text = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)
    # in quotes backslashes count as such, except before a quote and at the end
    text = re.sub(r'(\\*)(["]|$(?!\n))', lambda match: match[1] * 2 + (r"\"" if match[2] else ""), text)
    return f'{key}="{text}"'


def with_home(word: str) -> str:
    """KEY=~/PATH or KEY=~USER/PATH with the home folder: shells expand "~" only before a word, and Hydra reads none.

    Also in a list, KEY=[~/PATH,...].
    """
    if re.match(r"[^=]+=\[", word):
        return re.sub(r"(?<=[\[,])~[^,\]'\"\\]*", lambda item: override("", os.path.expanduser(item[0]))[1:], word)
    match = re.fullmatch(r"([^=]+)=(~[^,'\"\\]*)", word)
    if match is None:
        return word
    key, path = match.groups()
    return override(key, os.path.expanduser(path))
