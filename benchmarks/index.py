"""How long it takes to list a folder of very many files, at the first start and later: hard links to empty files.

    python -m benchmarks.index --files 200000 --folders 2000

The links are empty files in two levels of folders; only names are looked at.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Folder
from deepcluster.data.sources.index import find_images


def make(root: Path, n_files: int, n_folders: int) -> None:
    """Hard links to a few empty files: a file system allows some ten thousand links to one."""
    per_folder = n_files // n_folders
    past = time.time_ns() - 10_000_000_000
    for number in range(n_folders):
        folder = root / f"{number % 256:02x}" / f"{number:06x}"
        folder.mkdir(parents=True)
        first = folder / f"{number:06x}{0:026x}.jpg"
        first.write_bytes(b"")
        for i in range(1, per_folder):
            os.link(first, folder / f"{number:06x}{i:026x}.jpg")
    for path, _, _ in os.walk(root):
        os.utime(path, ns=(past, past))


def timed(what: str, root: Path, settings: Folder, reading: Reading) -> None:
    started = time.perf_counter()
    paths, _ = find_images(str(root), settings, reading)
    elapsed = time.perf_counter() - started
    print(f"{what:42} {len(paths):>10,} files in {elapsed:7.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--folders", type=int, default=2_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "images")
        make(root, args.files, args.folders)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        names = [os.path.join(path, name) for path, _, files in os.walk(root) for name in files]
        print(f"{'os.walk, for comparison':42} {len(names):>10,} files in {time.perf_counter() - started:7.2f} s")
        walked = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        del names
        settings = Folder(root=str(root))
        reading = Reading(cache_dir=str(Path(folder, "cache")))
        timed("first start", root, settings, reading)
        timed("second start", root, settings, reading)
        (root / "00" / "000000" / "new.jpg").write_bytes(b"")
        timed("after one file was added", root, settings, reading)
        paths, _ = find_images(str(root), settings, reading)
        started = time.perf_counter()
        n_bytes = sum(map(len, paths))
        print(f"{'every path once':42} {len(paths):>10,} files in {time.perf_counter() - started:7.2f} s")
        entry = next(Path(folder, "cache").iterdir()).stat().st_size
        print(
            f"{n_bytes / len(paths):.0f} characters a path; index on disk {entry / len(paths):.0f} bytes a file; "
            f"a list of strings took {walked * 1024 / len(paths):.0f} bytes a file"
        )


if __name__ == "__main__":
    main()
