"""Image files below a folder by a plain recursive walk: the twin of data/index.py."""

import os

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


def walked(folder):
    """Relative paths, each folder's entries by name, without hidden ones; links only to folders outside of it."""
    inside = {os.path.realpath(place) for place, _, _ in os.walk(folder)}
    found = []

    def walk(path, above):
        for name in sorted(os.listdir(path)):
            below = os.path.join(path, name)
            if name.startswith((".", "__MACOSX")):
                continue
            if not os.path.isdir(below):
                found.extend([above + name] if name.lower().endswith(ENDINGS) else [])
            elif not os.path.islink(below) or os.path.realpath(below) not in inside:
                walk(below, f"{above}{name}/")

    walk(folder, "")
    return found
