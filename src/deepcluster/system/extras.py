"""How to install an extra: what a message says where its packages are missing."""

import re
from importlib import metadata
from pathlib import Path


def install_extra(name: str) -> str:
    """The command that installs an extra of pyproject.toml.

    In a clone `pip install -e '.[viz]'`. An installed wheel may have come from any place, so there the command names
    the extra's packages.
    """
    if (Path(__file__).parents[3] / "pyproject.toml").is_file():
        return f"pip install -e '.[{name}]'"
    return packages_command(metadata.requires("deepcluster") or [], name)


def packages_command(requirements: list[str], extra: str) -> str:
    """The command for the requirements that belong to the extra.

    >>> packages_command(["numpy>=1.26", "umap-learn>=0.5.6; extra == 'viz'"], "viz")
    "pip install 'umap-learn>=0.5.6'"
    """
    of_extra = re.compile(rf"extra == ['\"]{extra}['\"]")
    wanted = [line.partition(";")[0].strip() for line in requirements if of_extra.search(line)]
    return "pip install " + " ".join(f"'{requirement}'" for requirement in wanted)
