"""Do two checkouts compute the same numbers? Hashes of weights, assignments and figures of small runs.

    python -m benchmarks.same_numbers record BEFORE.json --folder OLD_RUNS --checkout OLD_CHECKOUT
    python -m benchmarks.same_numbers record AFTER.json --folder NEW_RUNS --only base pic
    python -m benchmarks.same_numbers compare BEFORE.json AFTER.json

`record` types train.py and eval.py of a checkout, one thread and fp32 each, so it serves any commit: it knows nothing
of the package. `--voc` and `--retrieval` name sets for the evaluations that need their own (data.md); without them
those are left out. `compare` names what differs and ends with 1. The same machine and packages are meant: another
processor sums in another order. `--only smallest` is a run of seconds, for the tests.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

FP32 = ["method=deepcluster", "trainer.precision=32-true", "trainer.accelerator=cpu"]
EPOCHS = "trainer.max_epochs="
VOLATILE = ("seconds", "time", "_s", "date", "ckpt")  # ends or names of figures that are never twice the same
SHOWS_SECONDS = ("curves.png",)  # a picture of what is never twice the same
TABLES, PICTURES = (".csv", ".jsonl", ".txt", ".html"), (".png", ".jpg")


@dataclass(frozen=True)
class Case:
    """One command, and the case whose folder it needs.

    Args:
        words: after `python train.py` or `python eval.py`; {folder}, {after} and sets by name are filled in.
        after: the case that must be done first; it gives {after}.
        same_as: another case whose every hash this one must have.
        joins: continue the run of `after` in its own folder, so that the command has no folder of its own.
    """

    entry: str
    words: list[str]
    after: str | None = None
    same_as: str | None = None
    joins: bool = False


def _evaluation(name: str, *words: str, after: str | None = "base") -> Case:
    ckpt = [] if after is None else ["ckpt={after}"]
    return Case("eval.py", [f"evaluation={name}", *ckpt, *words], after=after)


CASES: dict[str, Case] = {
    "smallest": Case(
        "train.py", [*FP32, f"{EPOCHS}1", "data.limit=200", "clustering.k=10", "evaluation.enabled=false"]
    ),
    "base": Case("train.py", [*FP32, f"{EPOCHS}4", "reading.num_workers=0"]),
    "workers": Case("train.py", [*FP32, f"{EPOCHS}4", "reading.num_workers=2"], same_as="base"),
    "half": Case("train.py", [*FP32, f"{EPOCHS}2", "reading.num_workers=0"]),
    "resumed": Case("train.py", ["resume={after}", f"{EPOCHS}4"], after="half", same_as="base", joins=True),
    "pic": Case("train.py", [*FP32, f"{EPOCHS}2", "clustering=pic"]),
    "official": Case("train.py", [*FP32, f"{EPOCHS}2", "mode=official", "reduction=official", "reduction.dim=64"]),
    "patches": Case("train.py", [*FP32, f"{EPOCHS}2", "init=kmeans_patches"]),
    "processes": Case("train.py", [*FP32, f"{EPOCHS}2", "trainer=ddp", "trainer.devices=2"]),
    "proportional": Case("train.py", [*FP32, f"{EPOCHS}2", "sampler=proportional", "reassign=every_n_epochs"]),
    "strong": Case("train.py", [*FP32, f"{EPOCHS}1", "view=strong_32", "arch=alexnet_small", "reduction=l2"]),
    "folder": Case(
        "train.py",
        [
            *FP32,
            f"{EPOCHS}2",
            "experiment=photographs",
            "data.root={pictures}",
            "view.size=48",
            "clustering.k=6",
            "reduction.dim=8",
        ],
    ),
    "representation": _evaluation("representation"),
    "assign": _evaluation("assign"),
    "export": _evaluation("export", "evaluation.formats=[safetensors,torchvision]"),
    "linear_probe": _evaluation("linear_probe"),
    "transfer": _evaluation("transfer", "evaluation.epochs=2"),
    "knn": _evaluation("knn"),
    "cluster_quality": _evaluation("cluster_quality"),
    "first_filters": _evaluation("first_filters"),
    "gradient_ascent": _evaluation("gradient_ascent", "evaluation.first=4", "evaluation.n_steps=20"),
    "top_images": _evaluation("top_images", "evaluation.first=8"),
    "curves": _evaluation("curves"),
    "embedding": _evaluation("embedding", "evaluation.n_images=300"),
    "page": _evaluation("page"),
    "assign_folder": _evaluation("assign", "data=folder", "data.root={pictures}"),
    "initial_alignment": _evaluation(
        "initial_alignment",
        "arch=lenet",
        "data=fashion_mnist_mini",
        "evaluation.n_seeds=2",
        "evaluation.k=[10]",
        "evaluation.dim=[null,20]",
        after=None,
    ),
    "voc07": _evaluation("voc07", "evaluation.root={voc}", "evaluation.training.n_iterations=20"),
    "voc07_svm": _evaluation(
        "voc07_svm", "evaluation.root={voc}", "evaluation.shots=[4,null]", "evaluation.n_samples=2"
    ),
    "retrieval": _evaluation("retrieval", "evaluation.root={retrieval}", "evaluation.sizes=[64]"),
}


@dataclass
class Recorder:
    """Runs cases of one checkout in one folder.

    Args:
        sets: name -> folder, of the sets that cases mention.
    """

    checkout: Path
    folder: Path
    sets: dict[str, Path]
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, name: str) -> None:
        """Type one case and hash what it left.

        Raises:
            RuntimeError: with the command's last lines, if it fails.
        """
        case = CASES[name]
        target = self.folder / (name if not case.joins else str(case.after))
        folders = {**self.sets, "folder": target}
        if case.after is not None:
            folders["after"] = self.folder / case.after
        words = [word.format(**folders) for word in case.words]
        if not case.joins:
            words.append(f"output_dir={target}")
        source = str(self.checkout / "src")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": source, "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, str(self.checkout / case.entry), *words],
            cwd=self.checkout,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {case.entry} {' '.join(words)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
        self.hashes[name] = folder_hashes(target)
        print(f"{name:18}{len(self.hashes[name])} hashes", flush=True)

    def record(self, names: Sequence[str]) -> None:
        """All cases, two at a time, each after the one it needs."""
        waiting = list(names)
        with ThreadPoolExecutor(2) as pool:
            while waiting:
                ready = [n for n in waiting if CASES[n].after is None or CASES[n].after in self.hashes]
                if not ready:
                    raise RuntimeError(f"nothing gives what {', '.join(waiting)} need")
                # A case that continues another's folder waits until nobody else reads it.
                list(pool.map(self.run, ready))
                waiting = [n for n in waiting if n not in ready]


def folder_hashes(folder: Path) -> dict[str, str]:
    """What a run or an evaluation left: figure or file -> hash, without what is never twice the same."""
    hashes = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(file.relative_to(folder))
        if ".hydra" in name or name.startswith("config") or file.name in SHOWS_SECONDS:
            continue
        reader = _reader(file)
        if reader is not None:
            hashes |= {f"{name}: {part}" if part else name: digest for part, digest in reader(file).items()}
    return hashes


def _reader(file: Path) -> Callable[[Path], dict[str, str]] | None:
    if file.suffix in (".ckpt", ".pth"):
        return _weights
    if file.suffix == ".npz":
        return lambda path: {name: _digest(value.tobytes()) for name, value in np.load(path).items()}
    if file.suffix == ".json":
        return _figures
    if file.name == "metrics.csv":
        return _epochs
    if file.suffix in PICTURES:
        return lambda path: {"": _digest(np.asarray(Image.open(path)).tobytes())}
    if file.suffix in (*TABLES, ".safetensors"):
        return lambda path: {"": _digest(path.read_bytes())}
    return None


def _weights(file: Path) -> dict[str, str]:
    """The state of network and optimizer and the clusters, not the wrapping."""
    content = torch.load(file, map_location="cpu", weights_only=True)
    if "state_dict" not in content:
        return {"": _digest(repr(list(_leaves(content))).encode())}
    parts = {"state_dict": content["state_dict"], "optimizers": content.get("optimizer_states", [])}
    for state in content.get("callbacks", {}).values():
        if isinstance(state, dict) and "assignment" in state:
            parts["assignment"] = state["assignment"]
    return {name: _digest(repr(list(_leaves(part))).encode()) for name, part in parts.items()}


def _leaves(node: Any) -> Any:
    """Every value of nested containers with its path, tensors as hashes."""
    if isinstance(node, dict):
        for name in sorted(node, key=str):
            for path, value in _leaves(node[name]):
                yield (str(name), *path), value
    elif isinstance(node, list | tuple):
        for index, item in enumerate(node):
            for path, value in _leaves(item):
                yield (index, *path), value
    elif isinstance(node, torch.Tensor):
        yield (), _digest(node.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    else:
        yield (), repr(node)


def _figures(file: Path) -> dict[str, str]:
    figures = {".".join(map(str, path)): value for path, value in _leaves(json.loads(file.read_text()))}
    return {name: value for name, value in figures.items() if not _is_volatile(name)}


def _epochs(file: Path) -> dict[str, str]:
    """A column of metrics.csv each."""
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    names = [name for name in rows[0] if not _is_volatile(name)]
    return {name: _digest(repr([row[name] for row in rows]).encode()) for name in names}


def _is_volatile(name: str) -> bool:
    words = name.replace("/", ".").split(".")
    return any(word == v or word.endswith(v) for word in words for v in VOLATILE)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def draw_pictures(folder: Path) -> None:
    """60 small JPEGs and PNGs in three class folders: bars at an angle that tells the class, in noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:56, :64]
    for number in range(60):
        kind = number % 3
        wave = np.sin((columns if kind == 0 else rows if kind == 1 else rows + columns) * 0.6 + random.uniform(0, 6))
        pixels = (wave[..., None] * 60 + 128 + random.normal(0, 20, (56, 64, 3))).clip(0, 255).astype(np.uint8)
        file = folder / f"kind_{kind}" / f"{number:02}.{'jpg' if number % 2 else 'png'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)


def differences(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """What differs, one line each; cases that only one of the two has are not compared."""
    lines = []
    for case in sorted(before.keys() & after.keys()):
        old, new = before[case], after[case]
        lines += [f"{case}: {name} differs" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
        lines += [f"{case}: {name} is gone" for name in sorted(old.keys() - new.keys())]
        lines += [f"{case}: {name} is new" for name in sorted(new.keys() - old.keys())]
    return lines


def same_within(hashes: dict[str, dict[str, str]]) -> list[str]:
    """Cases that must equal another one of the same checkout, and do not."""
    lines = []
    for name, case in CASES.items():
        if name in hashes and case.same_as in hashes:
            pair = {name: hashes[case.same_as]}, {name: hashes[name]}
            lines += [f"{line} from {case.same_as}" for line in differences(*pair) if "state_dict" in line]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Record or compare; 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--folder", type=Path, required=True, help="a new folder for the runs")
    recording.add_argument("--checkout", type=Path, default=Path(__file__).resolve().parent.parent)
    recording.add_argument("--only", nargs="+", choices=CASES, metavar="CASE")
    recording.add_argument("--voc", type=Path)
    recording.add_argument("--retrieval", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "compare":
        lines = differences(*(json.loads(file.read_text()) for file in (options.before, options.after)))
        print("\n".join(lines) or "all the same")
        return int(bool(lines))
    sets = {"pictures": options.folder.resolve() / "pictures"}
    sets |= {name: path.resolve() for name in ("voc", "retrieval") if (path := getattr(options, name)) is not None}
    draw_pictures(sets["pictures"])
    missing = {f"{{{name}}}" for name in ("voc", "retrieval") if name not in sets}
    names = [n for n, case in CASES.items() if not any(name in word for name in missing for word in case.words)]
    recorder = Recorder(options.checkout.resolve(), options.folder.resolve(), sets)
    recorder.record(options.only or [name for name in names if name != "smallest"])
    options.file.write_text(json.dumps(recorder.hashes, indent=1, sort_keys=True) + "\n")
    lines = same_within(recorder.hashes)
    print("\n".join(lines))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
