"""Each command and setting that README and docs name is real: it composes, and what needs no network is run.

Commands of benchmarks/ are run by tests/benchmarks/test_commands.py.
"""

import dataclasses
import functools
import importlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from support import documented, shards
from support.configs import CONFIGS, NEEDS, REPOSITORY
from support.documented import Command
from support.tiny_sets import write_fashion_mnist, write_photographs, write_tables
from support.typed import Typist

from deepcluster.app.default_experiment import default_experiment
from deepcluster.app.folder_command import minutes_of
from deepcluster.app.hydra_setup import register
from deepcluster.app.start_word import start_of
from deepcluster.app.sweep.overrides import candidate_jobs
from deepcluster.app.words import help_of, settings_for_word
from deepcluster.settings.eval import eval_config
from deepcluster.settings.train import train_config
from deepcluster.system.words import WORDS

JOBS = {"train.py": "train.py", "eval.py": "eval.py", "train": "train.py", "eval": "eval.py"}  # word -> its file


def is_entry(command: Command, word: str) -> bool:
    """Whether the word is the file or the job that starts: `train` only after `deepcluster`."""
    return word in JOBS and (word.endswith(".py") or command.words[0] == "deepcluster")


README = (REPOSITORY / "README.md").read_text()
COMMANDS = [command for command in documented.commands(documented.PAGES) if "benchmarks." not in command.text]
ENTRIES = [command for command in COMMANDS if any(is_entry(command, word) for word in command.words)]
ON_FOLDERS = [command for command in COMMANDS if command.words[:2] == ["deepcluster", "DIR"]]
ON_WORDS = [command for command in COMMANDS if command.words[0] == "deepcluster" and {*command.words[1:2]} & {*WORDS}]
NOT_RUN = {  # what stands in a command -> why it is composed only
    "data=cifar10": "downloads",
    "data=fashion_mnist,cifar10": "downloads; an untrained network's features: tests/visualization/test_embedding.py",
    "experiment=cifar10": "downloads",
    **dict.fromkeys(
        ("experiment=coates_cifar10", "experiment=coates_2_layers_cifar10"),
        "downloads; composed with its images in tests/run/test_combinations.py",
    ),
    "data.name=uoft-cs/cifar10": "downloads; local sets of Hugging Face: tests/run/test_rewritten_shards.py",
    "ckpt=FILE.pth.tar": "no such file here; one in the 2018 layout is measured in tests/run/test_train.py",
    "ckpt=FILE": "no such file here; one in the 2018 layout is measured in tests/run/test_train.py",
    "follows=RUN": "goes on from a run of a folder: tests/run/test_next_week.py",
    "init.path=FILE.pth": "no such file here; read in tests/weights/test_fit.py",
    "init.path=FILE.onnx": "no such file here; tests/run/test_onnx_run.py runs one",
    "hydra/launcher=submitit_slurm": "needs SLURM; submitit_local: tests/app/sweep/test_sweeps.py",
    "hydra/launcher=joblib": "joblib's processes: tests/app/sweep/test_sweeps.py",
    "sweep=optuna": "tests/app/sweep/test_sweeps.py searches",
    "sweep=k_pca": "27 runs; tests/app/sweep/test_sweeps.py types it with fewer",
    **dict.fromkeys(
        ("sweep=starts", "sweep=deepdive_fig3", "sweep=deepdive_fig4", "sweep=deepdive_fig5", "sweep=deepdive_fig6"),
        "many runs; tests/benchmarks/test_papers.py makes figures of few",
    ),
    "sweep=deepdive_pca": "downloads, and many runs; tests/benchmarks/test_papers.py composes it",
    "GLIBC_TUNABLES": "the command is the one without it",
    "experiment=alexnet_imagenet": "200 epochs of ImageNet: tests/run/test_combinations.py trains it small",
    "torchrun": "two processes: tests/system/test_distributed.py and trainer=ddp here",
}
SMALL = {
    "data.limit": "120",
    "reading.batch_size": "16",
    "clustering.k": "5",
    "reduction.dim": "8",
    "trainer.max_epochs": "1",
    "evaluation.enabled": "false",
    "files.duplicates": "false",  # of photographs: tests/run/test_sample_files.py
    "page": "false",  # tests/visualization/page/test_page.py
}
SMALL_EVALUATIONS = {
    "knn": ["evaluation.k=[1,5]"],
    "linear_probe": ["evaluation.linear_probe.epochs=1", "evaluation.linear_probe.learning_rates=[0.1]"],
    "embedding": ["evaluation.n_images=60"],
    "gradient_ascent": ["evaluation.first=2", "evaluation.n_steps=2"],
    "merge": ["evaluation.k=3"],
    "initial_alignment": ["evaluation.k=[5]", "evaluation.dim=[null,8]", "evaluation.n_seeds=1"],
}
REPLACED = {"data.size"}  # docs/data.md tells what it is called now
RUNS = ["RUN", "RUN1", "RUN2", "runs/RUN", "TRAINED", "UNTRAINED"]


def overrides(command: Command) -> list[str]:
    """Its words that are settings; without placeholders that name no option."""
    words = command.words[next(i for i, word in enumerate(command.words) if is_entry(command, word)) + 1 :]
    named = {"experiment=NAME": "experiment=deepdive_fmnist", "evaluation=NAME": "evaluation=knn"}
    words = [named.get(word, word) for word in words if word != "..." and not word.startswith("-")]
    return [*words, *default_experiment(words)] if entry(command) == "train.py" else words


def entry(command: Command) -> str:
    return next(JOBS[word] for word in command.words if is_entry(command, word))


# Composed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ENTRIES, ids=str)
def test_each_command_composes(command: Command) -> None:
    register()
    words = overrides(command)
    hydra = any(word.startswith("hydra") for word in words)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for job in [words] if hydra else candidate_jobs(words):  # each value of a sweep, not each combination
            composed = compose(entry(command).removesuffix(".py"), job)
            if entry(command) == "train.py" and not any(
                word.startswith(("hydra", "resume=", "sweep=")) for word in job
            ):
                train_config(composed)


@pytest.mark.parametrize("command", ON_FOLDERS, ids=str)
def test_each_command_on_a_folder_composes(command: Command) -> None:
    start, settings = start_of(minutes_of(command.words[2:])[1])
    of_start = ["arch=onnx"] if start.endswith(".onnx") else []
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        train_config(compose("train", ["experiment=photographs", "data.root=photos", *of_start, *settings]))


@pytest.mark.parametrize("command", ON_WORDS, ids=str)
def test_each_short_word_composes(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RUN", "DIR", "DIR2"):
        (tmp_path / name).mkdir()
    (tmp_path / "RUN" / "config.yaml").touch()
    word, *others = [word.strip("[]") for word in command.words[1:]]
    if "--help" in others:
        assert help_of(word)
        return
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        compose(WORDS[word].job, settings_for_word(word, others))


# Run ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def typist(tmp_path_factory: pytest.TempPathFactory) -> Typist:
    """Where the sets and runs lie that the commands name."""
    folder = tmp_path_factory.mktemp("documented")
    for name in ("photographs", "NEW_IMAGES"):
        write_photographs(folder / name)
    write_tables(folder / "tables")
    for name in ("fashion_mnist", "data"):  # "data" is where an experiment looks for it
        write_fashion_mnist(folder / name)
    shards.litdata(shards.records(range(120)), folder / "chunks")
    typist = Typist(folder)
    done = typist.train(
        *tiny(["data.limit=240"]), "arch=alexnet_small", "method=deepcluster", "output_dir=RUN"
    )  # k-NN asks for 200
    assert done.status == 0, done.err
    for run in RUNS[1:]:
        shutil.copytree(folder / "RUN", folder / run)
    return typist


def tiny(words: list[str]) -> list[str]:
    """train.py's words with what makes it small, as far as they do not say it themselves."""
    typed = {word.partition("=")[0] for word in words}
    finds_k = any(word.startswith("clustering=pic") for word in words)
    small = {key: value for key, value in SMALL.items() if key not in typed and not (finds_k and key == "clustering.k")}
    if "experiment=photographs" in words:
        small |= {"other_rows.dim": "8", "other_rows.n_filters": "8"}
    return [*words, *(f"{key}={value}" for key, value in small.items())]


def on_tiny_sets(words: list[str]) -> list[str]:
    """With the folder of the set that the words choose, smaller numbers, and of a sweep two jobs."""
    typed = dict(word.partition("=")[::2] for word in words)
    sets = {"folder": "photographs", "photographs": "photographs", "litdata": "chunks"}
    sets |= dict.fromkeys(("parquet", "cifar10_parquet"), "tables")
    root = sets.get(typed.get("data", typed.get("experiment", "")), "fashion_mnist")
    less = {
        "data.root=DIR": f"data.root={root}",
        "data.root=DIR_OR_URL": f"data.root={root}",
        "data.limit=20000": "data.limit=240",
        "trainer.max_epochs=40": "trainer.max_epochs=2",
        "trainer.max_epochs=36": "trainer.max_epochs=2",
        "clustering.k=500": "clustering.k=5",
        "clustering.k=100,1000": "clustering.k=5,10",
    }
    return two_jobs([less.get(word, word) for word in words])


def two_jobs(words: list[str]) -> list[str]:
    """Two values of the first key that is swept, and one of each other.

    All are composed above; tests/app/sweep/ and test_a_sweep_of_evaluations of tests/run/test_train.py run products.
    """
    n_values, fewer = 2, []
    for word in words:
        key, _, values = word.partition("=")
        if re.fullmatch(r"\w+(,\w+)+", values):
            word, n_values = f"{key}={','.join(values.split(',')[:n_values])}", 1
        fewer.append(word)
    return fewer


def why_not(command: Command) -> str | None:
    words = [*command.text.split(), command.text.partition("=")[0]]
    return next((reason for part, reason in NOT_RUN.items() if part in words), None)


RUN = [command for command in ENTRIES if why_not(command) is None and command.text != "python train.py"]


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN, ids=str)
def test_each_command_runs(command: Command, typist: Typist) -> None:
    words = on_tiny_sets(overrides(command))
    flags = [word for word in command.words if word in ("-m", "--help")]
    if entry(command) == "train.py":
        resumed = any(word.startswith("resume=") for word in words)
        done = typist.train(*flags, *(words if resumed else tiny(words)))
    else:
        chosen = next((word for word in words if word.startswith("evaluation=")), "evaluation=representation")
        names = chosen.removeprefix("evaluation=").split(",")
        less = [word for name in names for word in SMALL_EVALUATIONS.get(name, [])] if len(names) == 1 else []
        limit = [] if "ckpt=" in command.text and "data=" not in command.text else ["data.limit=120"]
        done = typist.eval(*flags, *words, *less, *limit)
    assert done.status == 0, f"{command}\n{done.out[-2000:]}\n{done.err[-3000:]}"


def test_what_is_not_run_is_documented() -> None:
    """No reason outlives its command."""
    met = {reason for command in ENTRIES if (reason := why_not(command)) is not None}
    assert met == set(NOT_RUN.values())


@pytest.mark.slow
def test_the_first_run_and_its_page(tmp_path: Path) -> None:
    """`python train.py` whole: the README's first table, within the luck of another processor."""
    typist = Typist(tmp_path)
    done = typist.train()
    assert done.status == 0 and "DeepCluster on fashion_mnist_mini, 20 epochs, K = 50" in done.out, done.err
    (run,) = (tmp_path / "runs").iterdir()
    summary = read_json(run / "summary.json")
    trained = summary["trained"]
    assert trained["knn_whitened_accuracy"] > 0.86 and trained["linear_probe_accuracy"] > 0.87
    for column in ("pixels", "patches", "untrained"):  # accuracies of 1,000 images differ by luck, these hardly
        assert trained["nmi_labels"] > summary[column]["nmi_labels"]
        assert trained["nmi_classes"] > summary[column]["nmi_classes"] + 0.02
    done = typist.eval(f"ckpt={run}", "evaluation=page")
    assert done.status == 0 and (run / "page" / "index.html").is_file(), done.err


def read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


# Settings, snippets, extras ----------------------------------------------------------------------------------------


@functools.cache
def known_keys() -> set[str]:
    """Every setting of train.py and eval.py with any option of its group: "clustering.k", "evaluation.n_seeds"."""
    register()
    keys = {"output_dir", "resume", "ckpt", "minutes", "effort", "start", "do", "undo", "out"}  # after short words
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for file in sorted(CONFIGS.glob("*/*.yaml")):
            option = f"{file.parent.name}={file.stem}"
            if file.parent.name == "evaluation":
                composed = compose("eval", [option, "ckpt=RUN"])
                keys |= set(dotted(eval_config(composed, [option])))
            elif file.parent.name not in ("sweep", "hydra"):
                keys |= set(dotted(train_config(compose("train", [option, *NEEDS.get(option, [])]))))
    return keys


def dotted(node: Any, prefix: str = "") -> Iterator[str]:
    if dataclasses.is_dataclass(node):
        node = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{prefix}{name}"
            yield from dotted(value, f"{prefix}{name}.")


def named_settings(page: Path) -> Iterator[str]:
    """Words of inline code that look like settings: KEY=VALUE and GROUP.KEY."""
    groups = {folder.name for folder in CONFIGS.iterdir() if folder.is_dir()}
    for code in documented.inline(page.read_text()):
        words = code.replace("'", "").split()
        if words[:1] == ["deepcluster"] and words[1:2] and words[1] in WORDS:
            continue  # whose keys may stand alone: test_each_short_word_composes
        for word in words:
            key = word.partition("=")[0]
            is_dotted = re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", word) and not word.endswith(
                (".py", ".md", ".png", ".csv")
            )
            is_setting = re.match(r"[a-z_]+(\.[a-z_0-9]+)*=", word) and not re.search(r"=True|[,)\"]$", word)
            if is_setting or (is_dotted and key.partition(".")[0] in groups):
                yield word


@pytest.mark.parametrize("page", documented.PAGES, ids=lambda page: page.name)
def test_each_setting_that_a_page_names_exists(page: Path) -> None:
    unknown = []
    for word in named_settings(page):
        key, _, value = word.partition("=")
        if (CONFIGS / key).is_dir():
            options = [option for option in re.split(r"[,|]", value) if option and not re.search("[A-Z.]", option)]
            unknown += [f"{key}={o}" for o in options if not (CONFIGS / key / f"{o}.yaml").is_file()]
        elif key not in known_keys() and not key.startswith(("hydra.", "trainer.")):
            unknown.append(word)
    assert [word for word in unknown if word not in REPLACED] == []


def test_the_readmes_table_lists_every_option() -> None:
    table = README[README.index("| group | options |") : README.index("A mistyped key")]
    for folder in (path for path in CONFIGS.iterdir() if path.is_dir() and path.name not in ("evaluation", "hydra")):
        missing = [file.stem for file in folder.glob("*.yaml") if not re.search(rf"\b{file.stem}\b", table)]
        assert not missing, folder.name


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in documented.PAGES if documented.snippets(page)], ids=str)
def test_each_python_snippet_runs(page: Path, typist: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(typist.folder)
    for snippet in documented.snippets(page):
        exec(re.sub(r'"runs/[^"/]+"', '"RUN"', snippet), {})


@pytest.mark.parametrize("page", documented.PAGES, ids=lambda page: page.name)
def test_each_import_that_a_page_names_works(page: Path) -> None:
    text = page.read_text()
    for module, name in re.findall(r"`from (deepcluster[\w.]*) import (\w+)`", text):
        assert hasattr(importlib.import_module(module), name)
    for path in re.findall(r"`(deepcluster(?:\.\w+)+)`", text.replace("`deepcluster.pth.tar`", "")):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_each_extra_that_a_page_names_is_declared() -> None:
    declared = set(re.findall(r"^(\w+) = \[", (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE))
    for command in (command for command in COMMANDS if command.text.startswith("pip install")):
        for extras in re.findall(r"\.\[([\w,]+)\]", command.text):
            assert set(extras.split(",")) <= declared, command
