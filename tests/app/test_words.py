"""The short words of the command: what they stand for, and what is said to mistakes."""

import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from support.configs import CONFIGS

from deepcluster.app import program
from deepcluster.app.hydra_setup import register
from deepcluster.app.words import help_of, settings_for_word
from deepcluster.settings.eval import eval_config
from deepcluster.system.words import WORDS, command
from deepcluster.weights.files import EXPORTED


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where is typed: with photographs and two runs."""
    for name in ("photos", "a=b", "runs/one", "runs/two"):
        (tmp_path / name).mkdir(parents=True)
    for run in ("one", "two"):
        (tmp_path / "runs" / run / "config.yaml").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / EXPORTED).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "settings"),
    [
        ("page runs/one", ["evaluation=page", "ckpt=runs/one"]),
        ("page runs/one split=test seed=2", ["evaluation=page", "ckpt=runs/one", "evaluation.split=test", "seed=2"]),
        ("sort runs/one out", ["evaluation=sort", "ckpt=runs/one", "evaluation.out=out"]),
        (
            "sort do=true runs/one out evaluation.mode=copy",
            ["evaluation=sort", "ckpt=runs/one", "evaluation.out=out", "evaluation.do=true", "evaluation.mode=copy"],
        ),
        ("assign runs/one photos", ["evaluation=assign", "ckpt=runs/one", "data=folder", "data.root=photos"]),
        ("assign runs/one a=b", ["evaluation=assign", "ckpt=runs/one", "data=folder", 'data.root="a=b"']),
        ("embed runs/one", ["evaluation=embed", "ckpt=runs/one"]),
        ("merge runs/one k=12", ["evaluation=merge", "ckpt=runs/one", "evaluation.k=12"]),
        ("embed runs/one photos", ["evaluation=embed", "ckpt=runs/one", "data=folder", "data.root=photos"]),
        ("more runs/one photos clustering.k=60", ["follows=runs/one", "data.root=photos", "clustering.k=60"]),
        ("page runs/one --cfg job", ["--cfg", "job", "evaluation=page", "ckpt=runs/one"]),
    ],
)
def test_a_word_stands_for_settings(typed: str, settings: list[str]) -> None:
    word, *others = typed.split()
    assert settings_for_word(word, others) == settings


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("sort", "deepcluster sort RUN OUT: RUN and OUT are missing"),
        ("sort runs/one", "OUT is missing"),
        ("sort runs/one out copies", "copies: one word too many; did you mean mode=copy?"),
        ("sort runs/one out undo", "undo: one word too many; did you mean undo=true?"),
        ("sort runs/one out --mode copy", "--mode: settings are words KEY=VALUE; did you mean mode=copy?"),
        ("sort runs/one out mod=copy", "deepcluster sort has no key mod; did you mean mode?"),
        (
            "more runs/one photos minutes=3",
            "minutes=3 is for a new run, deepcluster DIR minutes=3; trainer.max_epochs=N",
        ),
        ("merge runs/one 12", "12: one word too many; did you mean k=12?"),
        ("page runs/one two", "two: one word too many; deepcluster page RUN [KEY=VALUE ...]"),
        ("page runs/oen", "runs/oen does not exist; did you mean runs/one?"),
        ("page two", "two does not exist; did you mean runs/two?"),
        ("page photos", "photos holds no run (no config.yaml); RUN is a folder of a run"),
        ("assign photos runs/one", "photos is no run; did you mean deepcluster assign runs/one photos?"),
        ("assign photos model", "photos is no run; did you mean deepcluster assign model photos?"),
        ("assign runs/one fotos", "fotos does not exist; deepcluster assign RUN DIR: DIR is a folder of images"),
        ("assign runs/one runs/two", "runs/two is a run's folder"),
        ("embed runs/one runs/one/config.yaml", "is a file"),
    ],
)
def test_mistakes_are_answered_by_what_was_meant(typed: str, said: str) -> None:
    word, *others = typed.split()
    with pytest.raises(ValueError) as refused:
        settings_for_word(word, others)
    assert said in str(refused.value)


def test_a_folder_of_images_may_be_called_like_a_word(folder: Path) -> None:
    (folder / "page").mkdir()
    with pytest.raises(ValueError, match=r"for the images in the folder page: deepcluster \./page"):
        settings_for_word("page", [])


@pytest.mark.parametrize("word", WORDS)
def test_each_word_is_in_the_help_and_has_its_own(word: str) -> None:
    assert f"deepcluster {word} {WORDS[word].usage}" in program.HELP
    assert help_of(word).startswith(f"deepcluster {word} {WORDS[word].usage}  ")
    assert max(map(len, help_of(word).splitlines())) <= 120


@pytest.mark.parametrize("word", [word for word, meaning in WORDS.items() if meaning.job == "eval"])
def test_what_a_word_stands_for_is_an_evaluation_with_these_keys(word: str) -> None:
    meaning = WORDS[word]
    values = {"RUN": "runs/one", "DIR": "photos", "OUT": "out"}
    settings = settings_for_word(word, [values[place.name] for place in meaning.places])
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = eval_config(compose("eval", settings), settings)
    assert config.evaluation.kind == {"bundle": "export"}.get(word, word) and config.ckpt == "runs/one"
    for _, form in enumerate(meaning.more):
        settings_for_word(word, [*(values[place.name] for place in meaning.places[:2]), *form[0].split()])


def test_commands_to_paste_are_those_of_the_program_that_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/deepcluster"])
    assert command("sort", "a b", "out", do="true") == "deepcluster sort 'a b' out do=true"
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert command("assign", "runs/one", "DIR") == (
        "python eval.py ckpt=runs/one evaluation=assign data=folder data.root=DIR"
    )
    assert command("sort", "a b", "out", do="true") == (
        """python eval.py 'ckpt="a b"' evaluation=sort evaluation.out=out evaluation.do=true"""
    )


def test_an_evaluation_that_is_no_word_is_answered_by_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed, said in (
        ("runs/one/config.yaml", "deepcluster predict RUN runs/one/config.yaml"),
        ("knn", "deepcluster eval ckpt=RUN evaluation=knn does it"),
        ("mor", "did you mean deepcluster more"),
    ):
        monkeypatch.setattr(sys, "argv", ["deepcluster", typed, "runs/one"])
        with pytest.raises(SystemExit):
            program.main()
        assert said in capsys.readouterr().err
