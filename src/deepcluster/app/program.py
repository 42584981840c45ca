"""The command `deepcluster`: train and eval as train.py and eval.py do them, from any folder.

Nothing is loaded before it is known what is asked. Next: command_line.py.
"""

import difflib
import os
import shlex
import sys
import time
from typing import Any, NoReturn

import deepcluster
from deepcluster.system import stop_signals
from deepcluster.system.words import WORDS

JOBS = ("train", "eval")
BY_THEMSELVES = ("predict", "push")  # words that stand for no settings of a job
_SHORT = "\n".join(f"  {f'deepcluster {word} {meaning.usage}':30}{meaning.help}" for word, meaning in WORDS.items())
HELP = f"""\
deepcluster groups images without labels: it clusters the features of a network, trains the network to predict each
image's cluster, and repeats.

  deepcluster DIR               group the images of a folder: class folders or any tree; about 10 minutes
  deepcluster DIR minutes=60    ... or as long as you like (effort=quick, normal or long: 3, 10 or 60 minutes)
  deepcluster DIR start=resnet50    ... from trained weights that lie on this machine, by name or by file

{_SHORT}
  deepcluster predict MODEL PICTURES   the cluster of each picture as CSV, by a run or by a bundle
  deepcluster push BUNDLE OWNER/NAME   a bundle to Hugging Face's hub

  deepcluster train KEY=VALUE ...     a run with your own settings; deepcluster train --help lists them
  deepcluster eval KEY=VALUE ...      numbers, pictures and files of a run; deepcluster eval --help lists them
  --config-dir DIR                    with train and eval: your own configs beside those of the package
  deepcluster --version

DIR may be followed by settings of train, which overrule those that it chooses: deepcluster DIR clustering.k=30
RUN is the folder of a run, as it was printed: runs/DATE_TIME. KEY=VALUE may follow each; deepcluster sort --help."""


def main() -> None:
    """What the command `deepcluster` does."""
    started = time.perf_counter()
    stop_signals.end_quietly()  # before imports that take long: Ctrl-C ends without a traceback
    words = sys.argv[1:]
    first = words[0] if words else "--help"
    if first in ("-h", "--help", "help"):
        print(HELP)
    elif first == "--version":
        print(f"deepcluster {deepcluster.__version__}")
    elif first in JOBS:
        run(first, words[1:])
    elif first in BY_THEMSELVES:
        run_by_itself(first, words[1:])
    elif first in WORDS:
        run_word(first, words[1:])
    elif os.path.isdir(os.path.expanduser(first)):
        run_folder(os.path.expanduser(first), words[1:], started)
    else:
        _refuse(first, words)


def run(job: str, words: list[str]) -> None:
    """Run train or eval.

    Args:
        job: "train" or "eval".
        words: the settings, as after `python train.py`.
    """
    import hydra

    from deepcluster.app.command_line import start
    from deepcluster.app.config_folder import configs
    from deepcluster.app.hydra_setup import register

    register()
    sys.argv = [sys.argv[0], *words]
    task = _train if job == "train" else _eval
    start(hydra.main(config_path=str(configs()), config_name=job, version_base="1.3")(task), job)


def run_by_itself(word: str, words: list[str]) -> None:
    """Run what is neither train nor eval, and has words of its own.

    Args:
        word: one of `BY_THEMSELVES`.
        words: what follows it.
    """
    from deepcluster.app import predict_command, push_command

    if not words or {"-h", "--help", "help"} & set(words):
        print(predict_command.HELP if word == "predict" else push_command.HELP)
    elif word == "predict":
        predict_command.predict_from_command_line(words)
    else:
        push_command.push_from_command_line(words)


def run_word(word: str, typed: list[str]) -> None:
    """Run what a short word stands for.

    Args:
        word: one of `WORDS`.
        typed: what follows it.
    """
    from deepcluster.app.errors import exit_with_error, user_errors
    from deepcluster.app.words import help_of, settings_for_word

    if {"-h", "--help", "help"} & set(typed):
        print(help_of(word))
        return
    try:
        settings = settings_for_word(word, typed)
    except user_errors() as error:
        exit_with_error(error)
    run(WORDS[word].job, settings)


def run_folder(folder: str, words: list[str], started: float) -> None:
    """Train on a folder of images with settings that suit it.

    Args:
        folder: of images.
        words: minutes=N or effort=NAME, and settings that overrule the chosen ones.
        started: time.perf_counter() when the command began: loading torch counts among the minutes.
    """
    from deepcluster.app.errors import exit_with_error, user_errors

    if os.path.isfile(os.path.join(folder, "config.yaml")):
        look = "deepcluster page {0} shows it, deepcluster train resume={0} goes on with it"
        exit_with_error(ValueError(f"{folder} is the folder of a run: " + look.format(shlex.quote(folder))))
    from deepcluster.app.folder_command import settings_for
    from deepcluster.app.hydra_setup import register

    register()
    try:
        settings = settings_for(folder, words, started=started)
    except user_errors() as error:
        exit_with_error(error)
    run("train", settings)


def _train(cfg: Any) -> float | None:
    from deepcluster.app.train_command import train_from_command_line  # loads torch, as in train.py

    return train_from_command_line(cfg)


def _eval(cfg: Any) -> None:
    from deepcluster.app.eval_command import evaluate_from_command_line

    evaluate_from_command_line(cfg)


def _folder_like(word: str) -> str | None:
    """The folder beside the one that the word names, whose name is most like it; None: none is."""
    parent, name = os.path.split(os.path.expanduser(word).rstrip(os.sep))
    try:
        folders = [entry.name for entry in os.scandir(parent or ".") if entry.is_dir()]
    except OSError:
        return None
    close = difflib.get_close_matches(name, folders, n=1, cutoff=0.75)
    return os.path.join(parent, close[0]) if close else None


def _refuse(first: str, words: list[str]) -> NoReturn:
    """Say what may have been meant by a first word that is no command."""
    from deepcluster.app.config_folder import options_of
    from deepcluster.app.errors import exit_with_error

    if first in options_of("evaluation"):
        advice = f"deepcluster eval ckpt=RUN evaluation={first} does it"
    elif os.path.isfile(os.path.expanduser(first)):
        advice = f"the clusters of pictures: deepcluster predict RUN {shlex.quote(first)}; a run is on a folder"
    elif close := difflib.get_close_matches(first, [*JOBS, *WORDS, *BY_THEMSELVES], n=1):
        advice = f"did you mean deepcluster {shlex.join([close[0], *words[1:]])}?"
    elif folder := _folder_like(first):
        advice = f"there is no such folder either; did you mean deepcluster {shlex.join([folder, *words[1:]])}?"
    elif "=" in first:
        advice = f"settings follow a command: deepcluster train {shlex.join(words)}"
    else:
        advice = "there is no such folder either; deepcluster --help lists what there is"
    exit_with_error(ValueError(f"{first} is no command of deepcluster; {advice}"))
