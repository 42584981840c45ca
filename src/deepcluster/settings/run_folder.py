"""Folders of runs and jobs: the resolvers run_folder and file_name of configs/train.yaml and eval.yaml.

A new folder under runs/ belongs to the process that makes it (`make_folder`), so that two runs of one second do not
share one.
"""

import itertools
import os
import shutil
from pathlib import Path

from deepcluster.clustering.chosen_k import GROUPS_FILE, SCAN_FILE, SCAN_PICTURE
from deepcluster.data.settings import Folder, Source
from deepcluster.data.sources.photographs import is_image_name, is_ours
from deepcluster.system import distributed
from deepcluster.system.setting import checked_path


def run_folder(resume: str | None, output_dir: str | None, default: str) -> str:
    """The folder of this run: the one to resume, the one asked for, or a new one.

    Raises:
        ValueError: if there is nothing to resume, or output_dir is a file or holds a run.
    """
    if resume is not None:
        resume = checked_path("resume", resume)
        if (Path(resume) / "multirun.yaml").is_file():
            raise ValueError(
                f"resume={resume} is a sweep's folder; the sweep's own command with output_dir={resume} goes on with it"
            )
        if not (Path(resume) / "config.yaml").is_file():
            raise ValueError(
                f"resume={resume}: no run there (no config.yaml); give the folder of a run, as train.py printed it"
            )
        return resume
    if output_dir is not None:
        output_dir = checked_path("output_dir", output_dir)
    if output_dir is not None and Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise ValueError(f"output_dir={output_dir} is a file; give a new folder's name")
    # Only the first of several processes checks: it may have begun the run when the others come here.
    if output_dir and (Path(output_dir) / "config.yaml").is_file() and distributed.is_main_process():
        raise ValueError(
            f"output_dir={output_dir} already holds a run; continue it with resume={output_dir}, "
            "or choose another folder"
        )
    return output_dir or default


def check_apart(folder: str, data: Source | None) -> None:
    """Refuse results among photographs: they would be read as photographs, or their class be taken for a run.

    Args:
        folder: where the results go.
        data: the images.

    Raises:
        ValueError: if the folder is data.root, or holds photographs below it.
    """
    if not isinstance(data, Folder):
        return
    root, inside = os.path.realpath(data.root), os.path.realpath(folder)
    if inside != root:
        if os.path.commonpath([root, inside]) != root or not os.path.isdir(folder):
            return
        names = os.listdir(folder)
        if is_ours(names) or not any(is_image_name(name) for name in names):
            return
    raise ValueError(
        f"output_dir={folder} holds the photographs of data.root={data.root}: results lie in a folder of their own, "
        f"as output_dir={os.path.join(folder, 'results')}"
    )


LINKS = "images"  # in the folder of a run on a list of paths: links to them
_made: set[Path] = set()  # by this process
# What a run that is refused has left in its folder.
_BEFORE_THE_WORK = {".hydra", ".lock", "train.log", "eval.log", LINKS, SCAN_FILE, SCAN_PICTURE, GROUPS_FILE}


def make_folder(name: str) -> str:
    """Make a folder of this name, or NAME_2, NAME_3 ... where another process has made that already."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = name if number == 1 else f"{name}_{number}"
        try:
            os.mkdir(folder)
        except FileExistsError:
            continue
        _made.add(Path(folder).absolute())
        return folder
    raise AssertionError("count() does not end")


def remove_unused(folder: Path) -> bool:
    """Remove a folder that :func:`make_folder` has made in this process, if no work has begun in it.

    Returns:
        Whether it is removed.
    """
    if folder.absolute() not in _made or not {file.name for file in folder.iterdir()} <= _BEFORE_THE_WORK:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def file_name(text: str) -> str:
    """A sweep job's overrides as the name of one folder: no slashes, and short enough for every file system."""
    return text.replace("/", "-").encode()[:200].decode(errors="ignore")
