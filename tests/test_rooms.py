"""The house in one table: which room may import which. docs/design.md tells what each holds."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.configs import REPOSITORY

import deepcluster

PACKAGE = Path(deepcluster.__file__).parent
BENCHMARKS = REPOSITORY / "benchmarks"

GROUND = {"system", "models"}
ARRAYS = {"system", "clustering", "data"}
FEATURES = {*GROUND, *ARRAYS, "features", "weights", "tracking"}
ROOMS = {  # room -> the rooms below that it may import
    "system": set(),
    "models": set(),
    "data": {"system"},
    "clustering": {"system"},
    "tracking": {"system"},
    "weights": {*GROUND, *ARRAYS},
    "features": {*GROUND, *ARRAYS, "weights"},  # rows of other networks come from files
    "training": FEATURES - {"weights"},
    "evaluation": FEATURES - {"tracking"},
    "visualization": {*FEATURES, "evaluation"} - {"tracking"},
    "settings": {*FEATURES, "training", "evaluation", "visualization"},
    "run": {*FEATURES, "training", "evaluation", "visualization", "settings"},
    "app": {*FEATURES, "training", "evaluation", "visualization", "settings", "run"},
    "compat2018": {"system", "clustering", "weights", "settings", "app"},
}
FRAMEWORKS = ("pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb")


def modules(top: Path, prefix: str) -> dict[str, Path]:
    """Dotted name -> file, of all files below a folder."""
    names = {file: ".".join([prefix, *file.relative_to(top).with_suffix("").parts]) for file in top.rglob("*.py")}
    return {name.removesuffix(".__init__"): file for file, name in names.items()}


def imports(file: Path) -> Iterator[str]:
    """Dotted names that a file imports, in functions and for types only too, with the names after `from ... import`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph(top: Path, prefix: str) -> dict[str, set[str]]:
    """Module -> the modules of the same tree that it imports."""
    known = modules(top, prefix)

    def target(name: str) -> str | None:
        while name and name not in known:
            name = name.rpartition(".")[0]
        return name or None

    return {
        module: {found for name in imports(file) if (found := target(name)) not in (None, module)}  # type: ignore[misc]
        for module, file in known.items()
    }


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, or nothing."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in arrows[module]:
            if found := walk(target, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in arrows if (found := walk(module, []))), [])


def test_every_file_stands_in_a_room() -> None:
    assert [file.name for file in PACKAGE.glob("*.py")] == ["__init__.py"]
    rooms = {file.relative_to(PACKAGE).parts[0] for file in PACKAGE.glob("*/**/*.py")}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_table_allows(room: str) -> None:
    allowed = {room, *ROOMS[room]}
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in (PACKAGE / room).rglob("*.py")
        for name in imports(file)
        if name.startswith("deepcluster.") and name.split(".")[1] not in allowed
    ]
    assert not wrong


def test_the_table_has_floors() -> None:
    assert not circle(ROOMS)


@pytest.mark.parametrize(("top", "prefix"), [(PACKAGE, "deepcluster"), (BENCHMARKS, "benchmarks")])
def test_no_file_imports_itself_in_a_circle(top: Path, prefix: str) -> None:
    assert not circle(graph(top, prefix))


def test_an_import_for_types_or_in_a_function_counts(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text("if TYPE_CHECKING:\n    from a import b\ndef f():\n    import c\n")
    assert set(imports(file)) == {"a.b", "c"}


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_faiss_is_imported_in_clustering_only() -> None:
    users = {file.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*.py") if "faiss" in imports(file)}
    assert users == {"clustering"}


@pytest.mark.parametrize("room", ["clustering", "models", "data", "features", "weights", "evaluation", "visualization"])
def test_rooms_of_arrays_know_no_framework(room: str) -> None:
    for file in (PACKAGE / room).rglob("*.py"):
        if file.name != "datamodule.py":
            assert not [name for name in imports(file) if name.startswith(FRAMEWORKS)], file


def test_no_file_is_called_utils() -> None:
    assert not [file for file in PACKAGE.rglob("*.py") if file.stem in ("utils", "helpers", "misc", "common")]
