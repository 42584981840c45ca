"""Where the config files are: in an installed package, or in the repository."""

from pathlib import Path

import deepcluster


def configs() -> Path:
    """The folder with train.yaml and eval.yaml.

    Raises:
        FileNotFoundError: if it is nowhere.
    """
    package = Path(deepcluster.__file__).parent
    places = (package / "configs", package.parents[1] / "configs")  # of a wheel, and beside src/
    for folder in places:
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no config files in {places[0]} or {places[1]}; install deepcluster again")


def options_of(group: str) -> list[str]:
    """The options of a group; none if there is no such group."""
    return sorted(file.stem for file in (configs() / group).glob("*.yaml"))


def groups_with(option: str) -> list[str]:
    """The groups that have an option of this name."""
    return sorted(file.parent.name for file in configs().glob("*/*.yaml") if file.stem == option)
