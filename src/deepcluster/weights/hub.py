"""Bundles on Hugging Face's hub, by its own library: fetched by name, and pushed."""

import re
from pathlib import Path
from typing import Any

from deepcluster.system.extras import install_extra
from deepcluster.weights.files import CLUSTERS, EXPORTED

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
FILES = (EXPORTED, Path(EXPORTED).with_suffix(".json").name, CLUSTERS, "names.csv", "README.md")  # that load a bundle
_UNCHOSEN = re.compile(r"\A---\n(?:.*\n)*?license: unknown\s*\n", re.MULTILINE)


def local_folder(name: str, revision: str | None = None) -> Path:
    """The folder of a bundle or a run: a local one, or else one of the hub, which is downloaded into its cache.

    Args:
        name: a folder, or OWNER/NAME on the hub.
        revision: of the hub's: a branch, tag or commit; None: the newest.

    Raises:
        FileNotFoundError: if there is no such folder, and it is no name on the hub.
        ImportError: if it is one and huggingface_hub is not installed.
        ValueError: if the hub does not give it.
    """
    if Path(name).exists():
        return Path(name)
    if not _NAME.fullmatch(name):
        raise FileNotFoundError(
            f"{name} does not exist; give the folder of a bundle or a run, or OWNER/NAME of the hub"
        )
    hub = _library(f"{name} is no folder here, and to fetch it from Hugging Face's hub")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:  # those of the library are of these kinds
        raise ValueError(
            f"{name} is no folder here, and the hub does not give it: {str(error).strip().splitlines()[0]}"
        ) from error


def push(folder: Path, name: str, *, private: bool = True) -> str:
    """Upload a bundle to the hub, as whom its library is logged in.

    Args:
        folder: the bundle.
        name: OWNER/NAME; it is made if it is new.
        private: seen by its owner alone, if it is new.

    Returns:
        Its address.

    Raises:
        FileNotFoundError: if the folder holds no whole bundle.
        ImportError: if huggingface_hub is not installed.
        ValueError: if the name is not possible, the licence is not chosen, or the hub refuses.
    """
    if missing := [file for file in (*FILES[:3], FILES[-1]) if not (folder / file).is_file()]:
        raise FileNotFoundError(f"{folder} is no bundle: {missing[0]} is missing; deepcluster bundle RUN {folder}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name} is no name on the hub, which are OWNER/NAME")
    card = folder / "README.md"
    if not private and _UNCHOSEN.match(card.read_text(encoding="utf-8")):
        raise ValueError(f"{card} tells no licence: write it behind license: in its first lines, or push it privately")
    api = _library(f"to push {folder}").HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=str(folder), commit_message=f"Bundle {folder.name}"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the hub refuses {name}: {str(error).strip().splitlines()[0]}") from error


def _library(what_for: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(f"{what_for} huggingface_hub is needed: {install_extra('hub')}") from error
    return huggingface_hub
