"""A command that we print gives its paths back, through the shell's and Hydra's reading."""

import random
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import OmegaConf

from deepcluster.app.typed_paths import with_quoted_paths
from deepcluster.system.quoting import argument

NAMES = (
    "a=b",
    "c%d#e",
    "照片",
    "o'neil",
    'y"z',
    "b\\s",
    "b\\",
    'b\\"',
    "a\nb",
    "e${f}",
    "\\${x}",
    "k,l",
    "1e3",
    "null",
)
draw = random.Random(0)
DRAWN = ["".join(draw.choices("ab\\\"'${}=,[]() \n#%!~:é.0-", k=draw.randint(1, 8))) for _ in range(300)]


def as_composed(word: str) -> object:
    value = OverridesParser.create().parse_override(word).value()
    return OmegaConf.create({"x": value.text if isinstance(value, QuotedString) else value}).x


def test_a_printed_argument_comes_back_whole() -> None:
    for name in (*NAMES, *DRAWN):
        (word,) = shlex.split(argument("data.root", name))
        assert as_composed(word) == name


@pytest.mark.parametrize("name", ["a=b/c%d#e", "epoch=3.ckpt", "g[1]", "k,l", "b\\s", "007", " sp ", "o'neil"])
def test_a_path_is_taken_as_typed(name: str) -> None:
    (word,) = with_quoted_paths([f"ckpt={name}"], is_sweep=False)
    assert as_composed(word) == name


def test_every_key_that_holds_one_path_is_taken_as_typed() -> None:
    keys = ("data.root", "init.path", "evaluation.out", "evaluation.names", "evaluation.names_of", "evaluation.root")
    for key in (*keys, "logger.tracking_uri", "follows", "output_dir"):
        (word,) = with_quoted_paths([f"{key}=out (1), x"], is_sweep=False)
        assert word == f'{key}="out (1), x"'
    assert with_quoted_paths(["evaluation.others=[a,b]"], is_sweep=False) == ["evaluation.others=[a,b]"]  # several


def test_what_is_quoted_swept_or_no_path_is_left_to_hydra() -> None:
    words = [
        'data.root="a b"',
        "ckpt=a,b",
        "resume=null",
        "data.root=${oc.env:HOME}",
        "clustering.k=[5,6]",
        "ckpt=runs/a",
    ]
    assert with_quoted_paths(words, is_sweep=True) == words
