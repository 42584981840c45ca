"""Image files below a folder by a plain recursive walk: the twin of data/index.py."""

import os

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


def walked(folder, above="", seen=()):
    """Relative paths, each folder's entries by name, without hidden ones; circles of links are not entered."""
    identity = os.path.realpath(folder)
    if identity in seen:
        return []
    found = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith((".", "__MACOSX")):
            continue
        if os.path.isdir(path):
            found += walked(path, f"{above}{name}/", (*seen, identity))
        elif name.lower().endswith(ENDINGS):
            found.append(above + name)
    return found
