"""The house's imports go one way (DESIGN.md, Rooms)."""

import ast
from pathlib import Path

import deepcluster

PACKAGE = Path(deepcluster.__file__).parent
LEAVES = {"atomic", "seeding", "machine"}  # files without imports of ours, for everyone

# Room (or file at the root) -> what it may import of ours, besides itself and the leaves.
ALLOWED = {
    "clustering": set(),
    "models": set(),
    "data": {"clustering.assignment"},
    "distributed": set(),
    "tracking": set(),
    "training": {"clustering", "models", "data", "distributed", "tracking"},
    "evaluation": {
        "clustering",
        "models",
        "data",
        "training.features",
        "distributed",
        "recognise",
        "checkpoint",
        "targets",
    },
    "visualization": {"clustering", "models", "data", "training.features", "evaluation", "distributed", "recognise"},
}


def imports(file: Path) -> list[str]:
    """Dotted names that a file imports, with the names after `from ... import`."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).glob("*.py")) or [PACKAGE / f"{room}.py"]


def test_rooms_import_only_what_the_house_allows() -> None:
    wrong = []
    for room, allowed in ALLOWED.items():
        for file in files(room):
            for name in imports(file):
                if not name.startswith("deepcluster."):
                    continue
                target = name.removeprefix("deepcluster.")
                own = target.split(".")[0] in LEAVES | {room}
                if not own and not any(target == ok or target.startswith(f"{ok}.") for ok in allowed):
                    wrong.append(f"{file.relative_to(PACKAGE)} imports {target}")
    assert not wrong


def test_leaves_import_nothing_of_ours() -> None:
    assert not [name for leaf in LEAVES for name in imports(PACKAGE / f"{leaf}.py") if "deepcluster" in name]


def test_faiss_is_imported_in_clustering_only() -> None:
    users = {f.relative_to(PACKAGE).parts[0] for f in PACKAGE.rglob("*.py") if "faiss" in imports(f)}
    assert users == {"clustering"}


def test_clustering_and_models_know_no_lightning_and_no_hydra() -> None:
    frameworks = ("pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb")
    for room in ("clustering", "models", "evaluation", "visualization"):
        for file in files(room):
            assert not [name for name in imports(file) if name.startswith(frameworks)], file


def test_no_file_is_called_utils() -> None:
    assert not [f for f in PACKAGE.rglob("*.py") if f.stem in ("utils", "helpers", "misc", "common")]
