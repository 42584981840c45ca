"""README, docs and docstrings cite only what the repository holds, and docs/design.md tells the rooms as they are."""

import re
from pathlib import Path

import pytest
from support.configs import REPOSITORY
from test_rooms import PACKAGE, ROOMS

DESIGN = (REPOSITORY / "docs" / "design.md").read_text()


def test_design_tells_the_rooms_that_are_checked() -> None:
    told: dict[str, set[str]] = {}
    for room, may_import in re.findall(r"^\| \d \| `(\w+)` \|.*\| (.*) \|$", DESIGN, re.MULTILINE):
        told[room] = set(told) if may_import == "all above" else set(re.findall(r"`(\w+)`", may_import))
    assert told == ROOMS


@pytest.mark.parametrize("cited", sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", DESIGN))))
def test_the_tests_that_design_names_exist(cited: tuple[str, str]) -> None:
    file, function = cited
    assert f"def {function}" in (REPOSITORY / file).read_text()


def test_the_files_and_folders_that_design_names_exist() -> None:
    walk = DESIGN[: DESIGN.index("## The nine contracts")]
    for path in re.findall(r"`(\w+/(?:\w+\.py)?)`", walk):
        inside = [*PACKAGE.glob("*"), PACKAGE, REPOSITORY]
        assert any((place / path).exists() for place in inside), path


def test_the_readme_ends_with_the_rooms_and_files_that_there_are() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    walk = readme[readme.index("## How it works") :]
    assert set(re.findall(r"^        (\w+)/ ", walk, re.MULTILINE)) == set(ROOMS)
    first = re.findall(r"`(\w+/\w+\.py)`", walk)
    assert len(first) == 6 and all((PACKAGE / file).is_file() for file in first)


def repository_files() -> list[Path]:
    """Texts that are ours: what git would commit, or all files where this is no clone."""
    kinds = ("*.py", "*.md", "*.yaml", "*.toml", ".ci/run")
    folders = [REPOSITORY / name for name in ("src", "tests", "benchmarks", "configs", "docs", ".ci")]
    files = [*REPOSITORY.glob("*.*"), *(file for folder in folders for file in folder.rglob("*"))]
    return [file for file in files if file.is_file() and any(file.match(kind) for kind in kinds)]


def test_no_file_cites_a_document_that_the_repository_does_not_hold() -> None:
    missing = []
    for file in repository_files():
        for cited in re.findall(r"(?:docs/\w+|\b[A-Z_]{3,})\.md\b", file.read_text()):
            if not any((folder / cited).is_file() for folder in (REPOSITORY, REPOSITORY / "docs", file.parent)):
                missing.append(f"{file.relative_to(REPOSITORY)}: {cited}")
    assert not missing


def test_links_of_pages_lead_to_files() -> None:
    for page in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_files_that_configs_name_exist() -> None:
    named = {
        (config.name, path)
        for config in (REPOSITORY / "configs").rglob("*.yaml")
        for path in re.findall(r"src/[\w./]*[\w/]", config.read_text())
    }
    assert len(named) > 20 and not [each for each in named if not (REPOSITORY / each[1]).exists()]
