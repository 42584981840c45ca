"""`deepcluster push BUNDLE OWNER/NAME`: a bundle to Hugging Face's hub. The work: weights/hub.py."""

import os
from pathlib import Path

USAGE = "deepcluster push BUNDLE OWNER/NAME [private=false]"
HELP = f"""\
{USAGE}    a bundle to Hugging Face's hub, as whom its library is logged in

  private=false    everybody sees it, if it is new; its card must tell a licence then (README.md, first lines)"""


def push_from_command_line(words: list[str]) -> None:
    """Upload, and print the address; an error of the user ends in one line."""
    from deepcluster.app.errors import exit_with_error, user_errors

    try:
        folder, name, private = places_of(words)
        from deepcluster.weights import hub

        print(f"pushed     {hub.push(Path(folder), name, private=private)}")
    except user_errors() as error:
        exit_with_error(error)


def places_of(words: list[str]) -> tuple[str, str, bool]:
    """The bundle, its name on the hub, and whether it is private.

    Raises:
        ValueError: if one is missing, or a word is not possible.
    """
    settings = [word for word in words if "=" in word and not os.path.exists(os.path.expanduser(word))]
    values = [word for word in words if word not in settings]
    if wrong := next((word for word in settings if word not in ("private=true", "private=false")), None):
        raise ValueError(f"{wrong}: only private=true or private=false may follow; {USAGE}")
    if len(values) != 2 or len(settings) > 1:
        raise ValueError(f"{' '.join(words)}: {USAGE}")
    return os.path.expanduser(values[0]), values[1], "private=false" not in settings
