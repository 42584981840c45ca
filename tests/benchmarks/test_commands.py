"""Each command of benchmarks/ that README, docs or a docstring names runs, on tiny data and for seconds."""

import re
from dataclasses import dataclass, field

import pytest
from support import documented
from support.configs import REPOSITORY
from support.tiny_sets import write_fashion_mnist, write_photographs, write_tables
from support.typed import Typist

from benchmarks.settings import read_config

BENCHMARKS = REPOSITORY / "benchmarks"
CPU = "trainer.accelerator=cpu"
SMALL = [CPU, "data.limit=60", "reading.batch_size=16", "clustering.k=5", "reduction.dim=8"]
PROBE = ["evaluation.linear_probe.epochs=1", "evaluation.linear_probe.learning_rates=[0.1]"]
COATES = [CPU, "reduction.dim=8", "init.n_patches=500", "init.n_iter=2"]
TABLES = {"data.root=DIR": "data.root=tables", "data=cifar10": "data=parquet"}


@dataclass(frozen=True)
class Tiny:
    """How a benchmark becomes small.

    Args:
        options: put after its own; of an option the last counts.
        overrides: put after the overrides of train.py, if it takes any.
        named: word of the documented command -> what stands for it in these tests.
    """

    options: list[str] = field(default_factory=list)
    overrides: list[str] | None = None
    named: dict[str, str] = field(default_factory=dict)

    def words(self, documented: list[str]) -> list[str]:
        """The words after the benchmark's name."""
        words = [self.named.get(word, word) for word in documented if word != "..."]
        end = words.index("--") if "--" in words else len(words)
        overrides = [] if self.overrides is None else ["--", *words[end + 1 :], *self.overrides]
        return [*words[:end], *self.options, *overrides]


TINY = {
    "ablation": Tiny(),
    "coates": Tiny(
        ["--filters", "6", "--folds", "1", "--costs", "10", "--first", "10"],
        [*COATES, *PROBE],
        {**TABLES, "arch.group_size=100": "arch.group_size=3"},
    ),
    "cycle": Tiny(["--steps", "1", "--rounds", "1", "--sizes", "40", "60"], SMALL, TABLES),
    "decode": Tiny(["--n", "1", "--rounds", "1"], None, {"DIR": "photographs", "VOCdevkit": "photographs"}),
    "faults": Tiny(["--kills", "2", "--most", "1"], None, {"DIR": "faults"}),
    "first_filters": Tiny(["--seeds", "1"], SMALL, TABLES),
    "gpu_check": Tiny(["--cpu", "--only", "reduction"]),
    "gpu_clustering": Tiny(["--cpu", "--rounds", "1"]),
    "index": Tiny(["--files", "12000", "--folders", "10"]),
    "make_fashion_mnist_mini": Tiny(["--out", "mini.npz"], None, {"DIR": "fashion_mnist"}),
    "page": Tiny(["--n", "300", "--k", "8"], None, {"DIR": "pages"}),
    "pic": Tiny(["--images", "500", "--dim", "8", "--components", "10", "--rounds", "1"]),
    "plot_filters": Tiny([], SMALL, TABLES),
    "scaling plot": Tiny(),
    "scaling measure": Tiny(["--n", "300", "--k", "5"], [CPU, "reduction.dim=8"], {"DIR": "scratch"}),
    "views": Tiny(["--rounds", "1"]),
}
ELSEWHERE = {
    "same_numbers": "test_same_numbers.py",
    "processes": "test_processes.py",
    "memory": "by --memory of cycle",
    "leaderboard": "test_leaderboard.py",
    "papers": "test_papers.py",
    "planted": "test_planted.py",
}
FILES = [*BENCHMARKS.rglob("*.py"), *documented.PAGES]


def benchmark(command: documented.Command) -> str:
    """Its name, and its first word if TINY tells tasks apart."""
    name = command.words[2].removeprefix("benchmarks.")
    task = " ".join([name, *command.words[3:4]])
    return task if task in TINY else name


COMMANDS = [c for c in documented.commands(FILES) if c.text.partition("python ")[2].startswith("-m benchmarks.")]


def fewest() -> list[documented.Command]:
    """Commands in which every option that is documented is met, and the first of each benchmark."""
    kept: list[documented.Command] = []
    met = {(name, option) for name, tiny in TINY.items() for option in tiny.options}
    by_length = sorted(COMMANDS, key=lambda command: -len(command.words))
    first = {benchmark(command): command for command in reversed(COMMANDS)}
    for command in [*first.values(), *by_length]:
        name, end = benchmark(command), (*command.words, "--").index("--")
        options = {(name, word) for word in command.words[2:end] if not re.fullmatch(r"\d+", word)}
        if name in TINY and (command is first[name] or not options <= met) and command not in kept:
            kept.append(command)
            met |= options
    return kept


@pytest.fixture(scope="module")
def typist(tmp_path_factory: pytest.TempPathFactory) -> Typist:
    """Where the sets lie that the commands name."""
    folder = tmp_path_factory.mktemp("benchmarks")
    write_tables(folder / "tables")
    write_photographs(folder / "photographs", n=6)
    write_fashion_mnist(folder / "fashion_mnist")
    (folder / "docs").mkdir()
    (folder / "scratch").mkdir()
    return Typist(folder)


def test_every_benchmark_is_documented_and_run() -> None:
    programs = {file.stem for file in BENCHMARKS.glob("*.py") if '__name__ == "__main__"' in file.read_text()}
    assert programs | {"faults", "leaderboard"} == {name.partition(" ")[0] for name in (*TINY, *ELSEWHERE)}
    assert {benchmark(command) for command in COMMANDS} | {"memory"} == TINY.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--" in c.words], ids=str)
def test_the_overrides_of_each_documented_command_compose(command: documented.Command) -> None:
    overrides = command.words[command.words.index("--") + 1 :]
    read_config([word for word in overrides if word != "..."])


def prepare(typist: Typist, name: str) -> None:
    """What a benchmark reads."""
    sweep, measured = typist.folder / "runs" / "modes", typist.folder / "scaling.csv"
    if name == "ablation" and not sweep.exists():
        words = ["mode=correct,official", *SMALL, "evaluation.enabled=false", "trainer.max_epochs=1"]
        done = typist.train("-m", *words, f"output_dir={sweep}")
        assert done.status == 0, done.err
    if name == "scaling plot" and not measured.exists():
        columns = "n,k,p,dtype,on_disk,clustering_cpu_s,extraction_cpu_s,peak_anonymous_mb"
        measured.write_text(f"{columns}\n1000,10,8,float32,0,0.1,1.0,700\n3000,10,8,float16,1,0.3,3.0,710\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", fewest(), ids=str)
def test_each_documented_command_runs(command: documented.Command, typist: Typist) -> None:
    name = benchmark(command)
    prepare(typist, name)
    done = typist.benchmark(name.partition(" ")[0], *TINY[name].words(command.words[3:]))
    assert done.status == 0, f"{command}\n{done.out[-2000:]}\n{done.err[-3000:]}"
