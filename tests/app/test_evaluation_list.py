"""`python eval.py --help`: every evaluation by name, with what its file says of it, among its own kind."""

import re
from pathlib import Path

from support.configs import CONFIGS

from deepcluster.app.evaluation_list import WIDTH, first_comment, list_evaluations
from deepcluster.settings.options import EVAL_OPTIONS

EVALUATIONS = CONFIGS / "evaluation"
LISTED = list_evaluations(EVALUATIONS, EVAL_OPTIONS["evaluation"])


def test_every_evaluation_is_listed_with_its_own_comment() -> None:
    flat = " ".join(LISTED.split())
    for file in EVALUATIONS.glob("*.yaml"):
        said = first_comment(file)
        assert said, f"{file.name}: its first line must be a comment that says what it does"
        assert f"{file.stem} {' '.join(said.split())}" in flat, file.name
    assert all(len(line) <= WIDTH for line in LISTED.splitlines())


def test_evaluations_stand_under_what_they_make() -> None:
    groups = re.split(r"^  (\w+)$", LISTED, flags=re.MULTILINE)
    of_kind = {heading: set(text.split()) for heading, text in zip(groups[1::2], groups[2::2], strict=True)}
    assert {"representation", "initial_alignment", "retrieval"} <= of_kind["numbers"]
    assert {"page", "curves"} <= of_kind["pictures"] and {"assign", "export"} <= of_kind["files"]


def test_a_variant_stands_with_what_it_is_a_variant_of(tmp_path: Path) -> None:
    (tmp_path / "export.yaml").write_text("# files.\ndefaults:\n  - /evaluation_export@_here_\n  - _self_\n")
    (tmp_path / "onnx.yaml").write_text("# only one: $5.\ndefaults:\n  - export\n  - _self_\nformats: [onnx]\n")
    (tmp_path / "svm.yaml").write_text("# like it.\ndefaults: [representation, _self_]\n")
    (tmp_path / "representation.yaml").write_text("# k-NN.\ndefaults:\n  - /evaluation_representation@_here_\n")
    expected = "  numbers\n    representation  k-NN.\n    svm             like it.\n"
    expected += "  files\n    export          files.\n    onnx            only one: $5."
    assert list_evaluations(tmp_path, EVAL_OPTIONS["evaluation"]) == expected
