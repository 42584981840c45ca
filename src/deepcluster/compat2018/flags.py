"""The flags of the 2018 scripts, and the settings that are meant by them. Next: files.py.

Names, choices and defaults are those of the 2018 code's argparse. Each script has a function below that gives its
flags, and one that gives our settings.
"""

import argparse
import difflib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from deepcluster.settings.stored import read_stored_config
from deepcluster.system.quoting import override

PROGRAM = "python -m deepcluster.compat2018"
FP32 = "32-true"  # the arithmetic of 2018
NETWORKS = ("alexnet", "vgg16")
N_CONVOLUTIONS = {"alexnet": 5, "vgg16": 13}
PCA_ROOT = "pca_root.txt"  # in eval_retrieval's --temp_dir: the set of the first two stages


@dataclass(kw_only=True)
class Command:
    """What one call of a 2018 script is here.

    Args:
        job: "train" or "eval"; None: there is nothing to do.
        words: its settings.
        folder: of the results.
        notes: what differs from what was asked for.
    """

    job: str | None
    words: list[str] = field(default_factory=list)
    folder: Path = Path()
    notes: list[str] = field(default_factory=list)


class Parser(argparse.ArgumentParser):
    """argparse, with the flag that may have been meant by an unknown one."""

    def error(self, message: str) -> NoReturn:
        if unknown := re.match(r"unrecognized arguments: (-\S+)", message):
            known = [flag for action in self._actions for flag in action.option_strings]
            if close := difflib.get_close_matches(unknown[1].partition("=")[0], known, n=1):
                message += f"; did you mean {close[0]}?"
        super().error(f"{message} (the flags: {self.prog} --help)")


def translate(words: list[str]) -> Command:
    """What a call of a 2018 script is here.

    Args:
        words: a script's name, such as eval_linear.py, and its flags; without a name they are main.py's.

    Raises:
        ValueError: if a value is one that only the 2018 code has.
        SystemExit: after --help, or because of a flag that the script does not have (argparse).
    """
    first = words[0] if words else ""
    name, is_folder = Path(first).stem, os.path.isdir(os.path.expanduser(first))
    is_named = name in SCRIPTS and not is_folder
    if first and not first.startswith("-") and not is_named and not is_folder:
        close = difflib.get_close_matches(name, SCRIPTS, n=1)
        meant = f"did you mean {close[0]}?" if close else f"the scripts are {', '.join(SCRIPTS)}"
        raise ValueError(f"{first} is no folder of images and no script of 2018; {meant}")
    name = name if is_named else "main"
    add_flags, settings_of = SCRIPTS[name]
    others = f"Other scripts: {PROGRAM} NAME, with NAME of {', '.join(list(SCRIPTS)[1:])}." if name == "main" else None
    parser = Parser(
        prog=f"{PROGRAM} {name}" if is_named else PROGRAM,
        description=f"{name}.py of the 2018 code, by this program; docs/scripts_2018.md tells what differs.",
        epilog=others,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_flags(parser.add_argument)
    return settings_of(parser.parse_args(words[1:] if is_named else words))


def _new_folder(exp: str) -> Path:
    """The folder of the results; the 2018 code's default is where it is called."""
    return Path(exp) if exp else Path("runs") / time.strftime("%Y-%m-%d_%H-%M-%S")


def _set(**values: Any) -> list[str]:
    """KEY=VALUE of each, with `__` for a dot; None is left out, strings are quoted as Hydra needs it."""
    named = {key.replace("__", "."): value for key, value in values.items() if value is not None}
    return [
        override(key, value) if isinstance(value, str) else f"{key}={_plain(value)}" for key, value in named.items()
    ]


def _plain(value: Any) -> str:
    """A number, a truth value, or a list of numbers or names, as Hydra reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower()


def _existing(flag: str, path: str) -> str:
    if not path:
        raise ValueError(f"{flag} is missing: give the file or folder")
    if not os.path.exists(os.path.expanduser(path)):
        raise ValueError(f"{flag}={path}: there is no such file or folder")
    return path


# main.py -----------------------------------------------------------------------------------------------------------


def _main_flags(add: Callable[..., Any]) -> None:
    add("data", metavar="DIR", help="path to dataset")
    add("--arch", "-a", choices=NETWORKS, default="alexnet", help="arch=")
    add("--sobel", action="store_true", help="arch.sobel=true, else false")
    add("--clustering", choices=["Kmeans", "PIC"], default="Kmeans", help="clustering=kmeans or pic")
    add("--nmb_cluster", "--k", type=int, default=10000, help="clustering.k=, of k-means")
    add("--lr", type=float, default=0.05, help="optimizer.lr=")
    add("--wd", type=float, default=-5, help="optimizer.weight_decay=, as a power of ten")
    add("--reassign", type=float, default=1.0, help="reassign.epochs=")
    add("--workers", type=int, default=4, help="reading.num_workers=")
    add("--epochs", type=int, default=200, help="trainer.max_epochs=")
    add("--start_epoch", type=int, default=0, help="so many epochs less")
    add("--batch", type=int, default=256, help="reading.batch_size=")
    add("--momentum", type=float, default=0.9, help="optimizer.momentum=")
    add("--resume", default="", metavar="PATH", help="a checkpoint.pth.tar; beside a run of ours: resume=")
    add("--checkpoints", type=int, default=25000, help="checkpoint.every_n_steps=")
    add("--seed", type=int, default=31, help="seed=")
    add("--exp", default="", help="output_dir=")
    add("--verbose", action="store_true", help="this program always tells")


def _main(args: argparse.Namespace) -> Command:
    if not os.path.isdir(os.path.expanduser(args.data)):
        raise ValueError(f"{args.data}: there is no such folder of images")
    changes = _set(
        data__root=args.data,
        reading__batch_size=args.batch,
        reading__num_workers=args.workers,
        clustering__k=args.nmb_cluster if args.clustering == "Kmeans" else None,
        optimizer__lr=args.lr,
        optimizer__momentum=args.momentum,
        optimizer__weight_decay=10**args.wd,
        reassign__epochs=args.reassign,
        checkpoint__every_n_steps=args.checkpoints,
        seed=args.seed,
    )
    beside = Path(args.resume).parent
    if args.resume and (beside / "config.yaml").is_file():
        _check_same_network(args, beside)
        words = [override("resume", str(beside)), "data=imagenet", *changes, f"trainer.max_epochs={args.epochs}"]
        return Command(job="train", words=words, folder=beside)
    folder, notes, init = _new_folder(args.exp), [], []
    n_epochs = args.epochs - args.start_epoch
    if args.resume:
        init = ["init=weights", override("init.path", _existing("--resume", args.resume))]
        notes.append(f"{args.resume} is no file of a run here: its weights are taken, its optimizer's state is not")
        if not args.start_epoch:
            notes.append(f"so it trains {n_epochs} epochs more; --start_epoch says how many are done")
    if n_epochs < 1:
        raise ValueError(f"--start_epoch={args.start_epoch} leaves none of --epochs={args.epochs}; lower it")
    words = [
        *("data=imagenet", "reading.on_broken=error", "view=original", "mode=official"),
        *_set(arch=args.arch, arch__sobel=args.sobel),
        f"clustering={args.clustering.lower()}",
        *changes,
        *_set(trainer__max_epochs=n_epochs, trainer__precision=FP32),
        *init,
        override("output_dir", str(folder)),
    ]
    return Command(job="train", words=words, folder=folder, notes=notes)


def _check_same_network(args: argparse.Namespace, run: Path) -> None:
    arch = read_stored_config(run / "config.yaml").arch
    target, sobel = str(arch.get("_target_", "")).rpartition(".")[2].lower(), arch.get("sobel")
    if (target, sobel) != (args.arch, args.sobel):
        with_or_without = "with" if sobel else "without"
        raise ValueError(
            f"--resume={args.resume} is of {target} {with_or_without} --sobel; give its --arch and --sobel"
        )


# Evaluations -------------------------------------------------------------------------------------------------------


def _linear_flags(add: Callable[..., Any]) -> None:
    add("--data", default="", help="data.root=, with train and val")
    add("--model", default="", help="ckpt=")
    add("--conv", type=int, choices=[1, 2, 3, 4, 5], required=True, help="evaluation.stages=[convN]")
    add("--tencrops", action="store_true", help="evaluation.original.ten_crops=true")
    add("--exp", default="", help="output_dir=")
    add("--workers", type=int, default=4, help="reading.num_workers=")
    add("--epochs", type=int, default=90, help="evaluation.original.epochs=")
    add("--batch_size", type=int, default=256, help="evaluation.original.batch_size=")
    add("--lr", type=float, default=0.01, help="evaluation.original.lr=")
    add("--momentum", type=float, default=0.9, help="0.9 only")
    add("--weight_decay", "--wd", type=float, default=-4, help="evaluation.original.weight_decay=, as a power of ten")
    add("--seed", type=int, default=31, help="seed=")
    add("--verbose", action="store_true", help="this program always tells")


def _linear(args: argparse.Namespace) -> Command:
    _only("--momentum", args.momentum, 0.9)
    return _eval(
        "linear_probe",
        args,
        exp=args.exp,
        data__root=_existing("--data", args.data),
        reading__num_workers=args.workers,
        evaluation__protocol="original",
        evaluation__stages=[f"conv{args.conv}"],
        evaluation__original__ten_crops=args.tencrops,
        evaluation__original__epochs=args.epochs,
        evaluation__original__batch_size=args.batch_size,
        evaluation__original__lr=args.lr,
        evaluation__original__weight_decay=10**args.weight_decay,
        seed=args.seed,
    )


def _voc_flags(add: Callable[..., Any]) -> None:
    add("--vocdir", default="", help="evaluation.root=")
    add("--split", choices=["train", "trainval"], default="train", help="tested on val or test")
    add("--model", default="", help="ckpt=")
    add("--nit", type=int, default=80000, help="evaluation.training.n_iterations=")
    add("--fc6_8", type=int, default=1, help="evaluation.training.mode=fc6_8, or with 0 all")
    add("--train_batchnorm", type=int, default=0, help="evaluation.training.train_batchnorm=")
    add("--eval_random_crops", type=int, default=1, help="evaluation.test_crops=random, or with 0 fixed")
    add("--stepsize", type=int, default=5000, help="evaluation.training.lr_halved_every=")
    add("--lr", type=float, default=0.003, help="evaluation.training.lr=")
    add("--wd", type=float, default=1e-6, help="evaluation.training.weight_decay=, as it is")
    add("--min_scale", type=float, default=0.1, help="evaluation.training.crop_scale=[MIN,...]")
    add("--max_scale", type=float, default=0.5, help="evaluation.training.crop_scale=[...,MAX]")
    add("--seed", type=int, default=31, help="seed=")


def _voc(args: argparse.Namespace) -> Command:
    notes = []
    if not args.fc6_8:
        notes.append(
            "--fc6_8 0 of the 2018 code draws the convolutions anew before it trains; here they are fine-tuned"
        )
    return _eval(
        "voc07",
        args,
        notes=notes,
        evaluation__root=_existing("--vocdir", args.vocdir),
        evaluation__train_split=args.split,
        evaluation__test_split={"train": "val", "trainval": "test"}[args.split],
        evaluation__training__n_iterations=args.nit,
        evaluation__training__mode="fc6_8" if args.fc6_8 else "all",
        evaluation__training__train_batchnorm=bool(args.train_batchnorm),
        evaluation__test_crops="random" if args.eval_random_crops else "fixed",
        evaluation__training__lr_halved_every=args.stepsize,
        evaluation__training__lr=args.lr,
        evaluation__training__weight_decay=args.wd,
        evaluation__training__crop_scale=[args.min_scale, args.max_scale],
        seed=args.seed,
    )


def _retrieval_flags(add: Callable[..., Any]) -> None:
    add("--S", type=int, default=1024, help="evaluation.sizes=[S]")
    add("--L", type=int, default=3, help="evaluation.levels=")
    add("--n_pca", type=int, default=512, help="evaluation.n_pca=")
    add("--model", default="pretrained", help="ckpt=")
    add("--dataset", required=True, help="evaluation.root=; of the first two stages evaluation.pca_root=")
    add("--dataset_name", choices=["Oxford", "Paris"], default="Oxford", help="not needed: files tell")
    stages = ["extract_train", "train_pca", "db_features", "q_features", "eval"]
    add("--stage", choices=stages, default="extract_train", help="eval does the work of all")
    add("--eval_binary", required=True, help="not needed")
    add("--temp_dir", default="", help="output_dir=, below it")
    add("--multires", action="store_true", help="without effect, as in 2018")
    add("--aqe", type=int, help="without effect, as in 2018")
    add("--dbe", type=int, help="without effect, as in 2018")


def _retrieval(args: argparse.Namespace) -> Command:
    remembered = Path(args.temp_dir) / PCA_ROOT
    if args.stage in ("extract_train", "train_pca"):
        pictures = os.path.abspath(_existing("--dataset", args.dataset))
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(pictures + "\n")
        return Command(job=None, notes=[f"PCA will be learned on {pictures}; --stage eval does it"])
    if args.stage != "eval":
        return Command(job=None, notes=[f"--stage {args.stage}: nothing to do; --stage eval does the work of all"])
    if args.model == "pretrained":
        raise ValueError(
            "--model=pretrained was torchvision's supervised VGG-16: save its state dict and give the file"
        )
    if args.S < 1:
        raise ValueError(f"--S={args.S} (the images' own sizes) is not offered; give the larger side in pixels")
    if not remembered.is_file():
        raise ValueError(f"no {remembered}: call --stage train_pca first, with the --dataset to learn PCA on")
    pca_root = remembered.read_text().strip()
    jpg = os.path.join(pca_root, "jpg")
    ignored = [f"--{name}" for name in ("multires", "aqe", "dbe") if getattr(args, name)]
    notes = (
        [f"{' '.join(ignored)}: without effect, as in 2018; evaluation.aqe=N and dba=N are theirs"] if ignored else []
    )
    return _eval(
        "retrieval",
        args,
        exp=os.path.join(args.temp_dir, "eval"),
        notes=notes,
        evaluation__root=_existing("--dataset", args.dataset),
        evaluation__pca_root=jpg if os.path.isdir(jpg) else pca_root,
        evaluation__sizes=[args.S],
        evaluation__levels=args.L,
        evaluation__n_pca=args.n_pca,
    )


def _ascent_flags(add: Callable[..., Any]) -> None:
    add("--model", default="", help="ckpt=")
    add("--arch", choices=NETWORKS, default="alexnet", help="for the number of --conv; the file tells the network")
    add("--conv", type=int, default=1, help="evaluation.stage=convN")
    add("--exp", default="", help="output_dir=, below it")
    add("--lr", type=float, default=3, help="evaluation.lr=")
    add("--wd", type=float, default=0.00001, help="evaluation.weight_decay=, as it is")
    add("--sig", type=float, default=0.3, help="0.3 only")
    add("--step", type=int, default=5, help="5 only")
    add("--niter", type=int, default=1000, help="evaluation.n_steps=")
    add("--idim", type=int, default=224, help="evaluation.size=")


def _ascent(args: argparse.Namespace) -> Command:
    _only("--sig", args.sig, 0.3)
    _only("--step", args.step, 5)
    if not 1 <= args.conv <= N_CONVOLUTIONS[args.arch]:
        raise ValueError(f"--conv={args.conv}: {args.arch} has the convolutions 1 to {N_CONVOLUTIONS[args.arch]}")
    return _eval(
        "gradient_ascent",
        args,
        exp=os.path.join(args.exp, f"conv{args.conv}"),
        evaluation__recipe="official",
        evaluation__singles=True,
        evaluation__stage=f"conv{args.conv}",
        evaluation__lr=args.lr,
        evaluation__weight_decay=args.wd,
        evaluation__n_steps=args.niter,
        evaluation__size=args.idim,
    )


def _activations_flags(add: Callable[..., Any]) -> None:
    add("--data", default="", help="data.root=")
    add("--model", default="", help="ckpt=")
    add("--conv", type=int, default=1, help="evaluation.stage=convN")
    add("--exp", default="", help="output_dir=, below it")
    add("--count", type=int, default=9, help="evaluation.n_top=")
    add("--workers", type=int, default=4, help="reading.num_workers=")


def _activations(args: argparse.Namespace) -> Command:
    if args.count < 1:
        raise ValueError(f"--count={args.count} (all images, sorted) is not offered; give a number of at least 1")
    return _eval(
        "top_images",
        args,
        exp=os.path.join(args.exp, f"conv{args.conv}"),
        data__root=_existing("--data", args.data),
        reading__num_workers=args.workers,
        evaluation__stage=f"conv{args.conv}",
        evaluation__n_top=args.count,
    )


def _eval(
    evaluation: str, args: argparse.Namespace, *, exp: str = "", notes: list[str] | None = None, **values: Any
) -> Command:
    folder = _new_folder(exp)
    words = [
        override("ckpt", _existing("--model", args.model)),
        f"evaluation={evaluation}",
        *(["data=imagenet", "reading.on_broken=error"] if "data__root" in values else []),
        *_set(**values, precision=FP32),
        override("output_dir", str(folder)),
    ]
    return Command(job="eval", words=words, folder=folder, notes=notes or [])


def _only(flag: str, value: float, offered: float) -> None:
    if value != offered:
        raise ValueError(f"{flag}={value} is not offered; only {offered}, the 2018 default, is")


Flags = Callable[[Callable[..., Any]], None]
SCRIPTS: dict[str, tuple[Flags, Callable[[argparse.Namespace], Command]]] = {
    "main": (_main_flags, _main),
    "eval_linear": (_linear_flags, _linear),
    "eval_voc_classif": (_voc_flags, _voc),
    "eval_retrieval": (_retrieval_flags, _retrieval),
    "gradient_ascent": (_ascent_flags, _ascent),
    "activ-retrieval": (_activations_flags, _activations),
}
