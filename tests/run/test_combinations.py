"""Every two options of different groups go together, or are refused in one clear sentence.

The options are those of configs/, so a new file is tried with all others. Settings: a set of rows in which all pairs
meet. Training: one epoch of a few steps, in rows in which all pairs of what learns meet and each data set is there
(a few generated images); each experiment once. Every start of every architecture, without training.
"""

import copy
import functools
import itertools
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from reference.pictures import picture
from support import shards
from support.configs import CONFIGS, NEEDS
from support.onnx_files import write_onnx
from support.pairs import covering_rows

from deepcluster.app.errors import message_for_user, user_errors
from deepcluster.app.hydra_setup import register
from deepcluster.app.train_command import own_process_group
from deepcluster.data.images import MemoryImages
from deepcluster.data.sources import load as sources
from deepcluster.models.backbone import Backbone
from deepcluster.run.train import train
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.weights import checkpoint
from deepcluster.weights.network import build_backbone
from deepcluster.weights.recognise import read_weights
from deepcluster.weights.start import CheckpointInit, WeightsInit

BY_SWAV = "experiment=[cp]*[vs]"  # cifar10_swav and photographs, which have SwAV's targets and heads beside
OF_ONE = re.compile("override /(?!hydra)|- deepdive")  # a sweep's file that chooses an option of another group
TARGETS = ("soft", "co_teaching")  # null: those of the method; all others: test_method_choices.py
# (option, option, what the refusal names); a pattern does not match the group's null.
REFUSED = [
    ("experiment=*", "clustering=pic*", "clustering.k"),  # the papers' K; PIC finds its own
    ("experiment=stl10", "view=deepdive_32", "view.resize"),
    *(("experiment=deepdive_*", other, "clustering.start") for other in ("clustering=sinkhorn", "method=sela")),
    ("experiment=coates_*", "arch=[!c]*", "arch.n_filters"),  # its keys are of its own architecture,
    ("experiment=coates_*", "init=[!k]*", "init.n_patches"),  # and of its own filters
    *(
        (f"experiment={papers}", f"optimizer={other}", "optimizer.")  # the papers' momentum
        for papers in ("alexnet_imagenet", "vgg16_imagenet", "deepdive_*")
        for other in ("adamw", "lars")
    ),
    ("experiment=small_images", "sampler=official", "official"),
    ("experiment=small_images", "mode=official", "official"),
    ("method=deepcluster_v2", "clustering=pic*", "clustering=pic"),  # its centroids are a head of fixed K
    ("method=sela", "clustering=[!s]*", "rows.of=scores"),
    ("method=sela", "clustering=spectral", "rows.of=scores"),
    ("method=swav", "clustering=sinkhorn", "head=prototypes"),  # which needs a head of its own
    ("method=swav", "sampler=uniform", "sampler=proportional"),
    ("method=swav", "sampler=official", "mode=official"),
    ("method=deepcluster_v2", "sampler=official", "mode=official"),
    ("method=sela", "sampler=official", "mode=official"),
    ("method=[!d]*", "mode=official", "official"),
    ("method=deepcluster_v2", "mode=official", "official"),
    ("clustering=kmeans_v2", "mode=official", "official"),
    ("clustering=kmeans_v2", "sampler=official", "official"),
    *((f"clustering={other}", "mode=official", "official") for other in ("sinkhorn", "spectral")),
    *((f"clustering={other}", "sampler=official", "official") for other in ("sinkhorn", "spectral")),
    *((f"targets={other}", f"{group}=official", "official") for other in TARGETS for group in ("mode", "sampler")),
    *(
        (f"optimizer={kind}", f"{group}=official", "official")
        for kind in ("adamw", "lars")
        for group in ("mode", "sampler")
    ),
    ("targets=soft", "clustering=pic*", "targets.softness=0"),
    ("targets=soft", "clustering=spectral", "targets.softness=0"),
    ("targets=soft", "clustering=sinkhorn", "targets.softness=0"),
    ("targets=soft", "method=sela", "targets.softness=0"),
    ("targets=co_teaching", "method=deepcluster_v2", "head=linear"),  # whose centroids are the first network's
    ("targets=co_teaching", "experiment=small_images", "other_rows.n_beside"),  # of one network's features
    ("targets=co_teaching", BY_SWAV, "other_rows.n_beside"),
    *((f"targets={other}", "method=swav", "clustering.match") for other in TARGETS),  # whose prototypes stay
    ("targets=soft", BY_SWAV, "clustering.match"),
    (BY_SWAV, "sampler=uniform", "sampler=proportional"),
    (BY_SWAV, "sampler=official", "official"),
    (BY_SWAV, "mode=official", "official"),
    (BY_SWAV, "clustering=sinkhorn", "head=prototypes"),
]
# They go together with clustering=sinkhorn alone, which the experiment without the method refuses: a test of its own.
BY_THREE = [(BY_SWAV, "method=sela", "")]
PARTS_OF_METHODS = ("embedding", "rows", "other_rows", "head", "targets")  # all together: test_method_choices.py


def groups() -> dict[str, list[str]]:
    """The groups of train.yaml and their options; null where it is the default."""
    found = {}
    for entry in yaml.safe_load((CONFIGS / "train.yaml").read_text())["defaults"]:
        for name, default in entry.items() if isinstance(entry, dict) else ():
            if not name.startswith(("override ", "optional ", *PARTS_OF_METHODS)):
                files = sorted((CONFIGS / name).glob("*.yaml"))
                options = [
                    f"{name}={file.stem}" for file in files if name != "sweep" or not OF_ONE.search(file.read_text())
                ]
                found[name] = options + ([f"{name}=null"] if default is None else [])
    assert {"arch", "data", "clustering", "experiment"} <= found.keys()
    return {**found, "targets": ["targets=null", *(f"targets={name}" for name in TARGETS)]}


@functools.cache
def excluded(a: str, b: str) -> bool:
    return any(matches(a, first) and matches(b, second) for first, second, _ in REFUSED + BY_THREE)


def matches(option: str, pattern: str) -> bool:
    return fnmatch(option, pattern) and not option.endswith("=null")


@pytest.fixture(autouse=True, scope="module")
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="test"):
        job = compose("train", overrides=["hydra.mode=MULTIRUN"], return_hydra_config=True)
        HydraConfig.instance().set_config(job)  # each run here is as a job of a sweep: others follow when it fails
        yield
        HydraConfig.instance().cfg = None


def settings(*overrides: str) -> TrainConfig:
    typed = [override for override in overrides if not override.endswith("=null")]  # Hydra has no word for it
    return train_config(compose("train", overrides=typed))


def needed(row: tuple[str, ...]) -> list[str]:
    return [need for option in row for need in NEEDS.get(option, [])]


def test_rows_hold_every_pair_that_is_allowed_and_no_other() -> None:
    few = {"a": ["a=1", "a=2", "a=3"], "b": ["b=1", "b=2"], "c": ["c=1", "c=2"], "d": ["d=1", "d=2", "d=3", "d=4"]}
    never = {("a=1", "b=2"), ("c=2", "a=3")}
    rows = covering_rows(few, excluded=lambda a, b: (a, b) in never, apart=["d"])
    found = {frozenset(pair) for row in rows for pair in itertools.combinations(row, 2)}
    meeting = [("a", "b"), ("a", "c"), ("b", "c")]
    wanted = {frozenset(pair) for one, other in meeting for pair in itertools.product(few[one], few[other])}
    assert wanted - found == {frozenset(pair) for pair in never}
    assert all(len(row) == 4 for row in rows) and {row[-1][0] for row in rows} <= set("abcd")
    assert {option for row in rows for option in row} == set(itertools.chain.from_iterable(few.values()))
    assert len(rows) < 3 * 2 * 2 * 4  # far fewer than all


@pytest.mark.parametrize(("first", "second", "named"), REFUSED)
def test_options_that_cannot_go_together_are_refused_in_a_sentence(first: str, second: str, named: str) -> None:
    every = list(itertools.chain.from_iterable(groups().values()))
    some = [next(option for option in every if matches(option, pattern)) for pattern in (first, second)]
    with pytest.raises(Exception) as refused:  # ours, Hydra's or OmegaConf's, told alike
        settings(*some, *needed(tuple(some)))
    said = message_for_user(refused.value)
    assert named in said and "\n" not in said, said


@pytest.mark.parametrize("experiment", [name for name in groups()["experiment"] if fnmatch(name, BY_SWAV)])
def test_a_method_beside_an_experiment_of_another_one_is_that_method(experiment: str) -> None:
    made = settings(experiment, "method=sela", *needed((experiment,)))
    assert (made.clustering.kind, made.rows.of, made.head.kind) == ("sinkhorn", "scores", "linear")
    assert getattr(made.other_rows, "n_neighbours", None) == 10  # the experiment's heads beside


@pytest.mark.parametrize("sweep", [file.stem for file in sorted((CONFIGS / "sweep").glob("*.yaml"))])
def test_every_sweep_composes(sweep: str) -> None:
    settings(f"sweep={sweep}", "data.root=DIR")


@pytest.mark.slow
def test_every_two_options_compose() -> None:
    failed = []
    for row in covering_rows(groups(), excluded=excluded):
        try:
            settings(*row, *needed(row))
        except Exception as error:
            failed.append(f"{' '.join(row)}: {type(error).__name__}: {message_for_user(error)}")
    assert not failed, "\n".join(failed)


# Training ----------------------------------------------------------------------------------------------------------

N = 48
SIDE = {"arch=alexnet": 64, "arch=alexnet_deepdive": 64}  # which take no less than 63 px
FEW = ["arch.channels=[4,8,8,8,8]", "arch.hidden=16", "arch.feature_dim=16"]
GRAPH = ["other_rows.dim=4", "other_rows.n_filters=8", "clustering.k=4", "reduction.dim=4"]
SMALLER = {  # the option with less work, its keys being what a user may set
    "arch=alexnet": FEW,
    "arch=alexnet_deepdive": FEW,
    "arch=alexnet_small": FEW,
    "arch=vgg16": [f"arch.channels={[4] * 13}".replace(" ", ""), *FEW[1:]],
    "arch=resnet18": ["arch.tap=layer1"],
    "arch=resnet50": ["arch.tap=layer1"],
    "arch=coates": ["arch.n_filters=8", "trainer.max_epochs=0"],  # which has nothing to train
    "arch=onnx": ["trainer.max_epochs=0"],
    "init=kmeans_patches": ["init.n_patches=2000", "init.n_images=40", "init.n_iter=2"],
    "clustering=kmeans": ["clustering.k=4", "clustering.n_iter=3"],
    "clustering=spectral": ["clustering.k=4", "clustering.n_iter=3"],
    "experiment=small_images": GRAPH,
    "experiment=photographs": GRAPH,
    "experiment=cifar10_swav": GRAPH,
    "clustering=kmeans_v2": ["clustering.k=4", "clustering.n_iter=3"],
    "clustering=sinkhorn": ["clustering.k=4", "clustering.n_labelings=2"],
    "method=deepcluster_v2": ["embedding.hidden=16", "embedding.dim=8"],
    "method=swav": ["embedding.hidden=16", "embedding.dim=8"],
    "clustering=pic": ["clustering.n_iter=5"],
    "clustering=pic_official": ["clustering.n_iter=5"],
    "reduction=official": ["reduction.dim=4"],
    "reduction=pca": ["reduction.dim=4"],
    "reduction=pca_whiten": ["reduction.dim=4"],
    "trainer=ddp": ["trainer.devices=1"],  # two: test_train.py
}
SHORT = [f"data.limit={N}", "reading.batch_size=16", "reading.num_workers=0", "evaluation.enabled=false"]
EMBEDDED = "data=fashion_mnist_mini"  # grey; tiny_data draws colours for the others
STORED = {"init=checkpoint", "init=weights"}  # which begin from a file
REFUSED_LATER = [  # when the network or the machine is known
    ("arch=coates", "init=[!k]*", "init="),
    ("arch=onnx", "init=[!cw]*", "init="),
    ("trainer=gpu", "*", "gpu"),
]
# Its features are some 30 apart, for which PIC refuses its sigma; the other reductions end with l2.
TOO_LONG = [("arch=coates", "reduction=none")]
# A tiny network whose features LARS lets die has no variance, which epsilon=0 refuses.
TOO_LONG += [("optimizer=lars", "reduction=official"), ("reduction=official", "optimizer=lars")]


def trained(folder: Path, *overrides: str) -> dict[str, Any]:
    """The summary of a run in this process."""
    made = settings(*overrides)
    with own_process_group(list(overrides), folder):
        return train(made, folder)


@functools.cache
def alone(option: str) -> TrainConfig:
    """Settings with this option, small; not to be changed."""
    return settings(option, *NEEDS.get(option, []), *SMALLER.get(option, []))


def drawn(arch: str, n_channels: int, seed: int, folder: Path) -> tuple[Backbone, dict[str, Any]]:
    """The network of this option, small, and its description; in the folder a file that it needs."""
    side = SIDE.get(arch, 32)
    card = {"arch": copy.deepcopy(alone(arch).arch), "in_channels": n_channels, "image_size": side, "resize": side}
    card |= {"mean": [0.5] * n_channels, "std": [0.2] * n_channels}
    if arch != "arch=onnx":
        return build_backbone(card, seed=seed), card
    weights = read_weights(write_onnx(folder / "start.onnx", sides=(side, side), channels=n_channels, seed=seed))
    assert weights.card is not None
    card["arch"] = weights.card["arch"]
    return build_backbone(card, weights=weights), card


def started(arch: str, n_channels: int, folder: Path) -> Path:
    """A checkpoint of this architecture, to begin from."""
    backbone, card = drawn(arch, n_channels, 9, folder)
    file = folder / "start.ckpt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(checkpoint.backbone_checkpoint(backbone, card, epochs=1, extra={}))
    return file


def small(row: tuple[str, ...], folder: Path) -> list[str]:
    """A row with what it needs, and less work."""
    arch = next(option for option in row if option.startswith("arch="))
    side = SIDE.get(arch, 32)
    sizes = [f"view.size={side}", f"view.resize={side + 8}", "trainer.max_epochs=1"]
    n_channels = 1 if EMBEDDED in row else 3
    starts = [f"init.path={started(arch, n_channels, folder)}"] if STORED & set(row) else []
    needs = [need for need in needed(row) if not need.startswith(("init.path", "data.root"))]
    # DeepCluster-v2 has no reduction, whatever the row says: see configs/method/deepcluster_v2.yaml
    fewer = [o for o in row if not (o.startswith("reduction=") and "method=deepcluster_v2" in row)]
    return [*row, *needs, *starts, *SHORT, *sizes, *itertools.chain.from_iterable(SMALLER.get(o, []) for o in fewer)]


@functools.cache
def refused_later(a: str, b: str) -> bool:
    return any(matches(a, first) and matches(b, second) for first, second, _ in REFUSED_LATER)


@pytest.mark.slow
def test_every_two_options_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the clustering a network is the length of its features; its start: the next test."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = {name: options for name, options in groups().items() if name != "experiment"}
    here["trainer"] = [option for option in here["trainer"] if option != "trainer=gpu"]
    here["data"] = sorted(here["data"], key=lambda option: option != EMBEDDED)  # in all rows that need no other
    rows = covering_rows(
        here,
        excluded=lambda a, b: excluded(a, b) or refused_later(a, b) or (a, b) in TOO_LONG,
        apart=["data", "logger", "trainer", "view", "reassign", "sweep", "mode"],
        indifferent=[
            *(("arch", name) for name in ("init", "reduction", "clustering", "sampler")),
            *(("init", name) for name in ("reduction", "sampler")),
        ],
    )
    assert {option for row in rows for option in row} >= {option for options in here.values() for option in options}
    failed = []
    for number, row in enumerate(rows):
        folder = tmp_path / str(number)
        (data,) = (option for option in row if option.startswith("data="))
        try:
            root = [] if data == EMBEDDED else tiny_data(data, folder / "data", monkeypatch)
            summary = trained(folder, *small(row, folder), *root)
            assert summary["epochs"] == (0 if {"arch=coates", "arch=onnx"} & {*row} else 1) and summary["n_images"] == N
            keeps_empty = "clustering=kmeans_v2" in row
            finds_k = any(option.startswith("clustering=pic") for option in row)
            least = 1 if finds_k or keeps_empty else 2
            assert summary["k"] >= summary["clusters_used"] >= least
            assert keeps_empty or summary["clusters_used"] == summary["k"]
        except Exception as error:
            failed.append(f"{' '.join(row)}: {type(error).__name__}: {message_for_user(error)}")
    assert not failed, f"{len(failed)} of {len(rows)} rows:\n" + "\n".join(failed)


@pytest.fixture(scope="module")
def starts() -> dict[str, TrainConfig]:
    """Settings with each option of init, those that read a file without one."""
    found = {}
    for option in groups()["init"]:
        needs = ["init.path=later"] if option in STORED else []
        found[option] = settings(option, *needs, *SMALLER.get(option, []))
    return found


@pytest.mark.parametrize("arch", groups()["arch"])
def test_every_start_is_made_with_every_architecture(arch: str, starts: dict[str, TrainConfig], tmp_path: Path) -> None:
    """Other weights than those drawn, or the file's, and finite features."""
    images = MemoryImages(
        images=torch.randint(0, 256, (N, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8),
        samples=[f"{i}" for i in range(N)],
        labels=None,
    )
    file = started(arch, 3, tmp_path)
    of_file = checkpoint.load_checkpoint(file).backbone
    new, card = drawn(arch, 3, 1, tmp_path)
    before = new.state_dict()
    for option in (option for option in starts if not refused_later(arch, option)):
        backbone, init = copy.deepcopy(new), copy.copy(starts[option].init)
        if isinstance(init, CheckpointInit | WeightsInit):
            init.path = str(file)
        init.apply(backbone, card=card, images=images, seed=1)
        after = backbone.state_dict()
        if option in STORED:
            assert all(torch.equal(after[name], value) for name, value in of_file.items()), option
        same = all(torch.equal(after[name], before[name]) for name in after)
        assert same == (option == "init=random"), option
        with torch.no_grad():
            features = backbone.eval()(torch.randn(4, 3, card["image_size"], card["image_size"]))
        assert features.shape == (4, backbone.feature_dim) and features.isfinite().all(), option


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second", "named"), REFUSED_LATER)
def test_what_shows_only_with_the_data_is_refused_too(first: str, second: str, named: str, tmp_path: Path) -> None:
    if first == "trainer=gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    chosen = (first, "init=random", "clustering=kmeans", "reduction=pca_whiten")
    chosen += () if first.startswith("arch=") else ("arch=lenet5",)
    with pytest.raises(user_errors()) as refused:
        trained(tmp_path / "run", *small(chosen, tmp_path))
    assert named in message_for_user(refused.value).lower()


def tiny_data(option: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A few images in the layout of this option, or in place of a download."""
    source = str(alone(option).data.source)
    root = folder / "images"
    if source in sources._ARRAYS:  # their files: tests/data/test_archives.py

        def made(root: str | None, split: str) -> MemoryImages:
            pixels = torch.randint(0, 256, (N, 3, 32, 32), generator=torch.Generator().manual_seed(1))
            names = [f"{split}/{i}" for i in range(N)]
            return MemoryImages(images=pixels.to(torch.uint8), samples=names, labels=torch.arange(N) % 3)

        monkeypatch.setitem(sources._ARRAYS, source, made)
    elif source == "folder":
        for i in range(N + 6):
            file = root / ("train" if i < N else "val") / f"class_{i % 3}" / f"{i:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(i, 32, 32).save(file)
    elif source == "parquet":
        root.mkdir(parents=True)
        shards.huggingface(range(N)).to_parquet(root / "train.parquet")
    elif source == "huggingface":
        shards.huggingface(range(N), root)
    elif source == "litdata":
        shards.litdata(shards.records(range(N)), root)
    else:
        raise AssertionError(f"say here what {option} reads")
    return [f"data.root={root}"]


@pytest.mark.slow
@pytest.mark.parametrize("option", [option for option in groups()["experiment"] if not option.endswith("null")])
def test_every_experiment_trains(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, with fewer and smaller images, fewer filters and clusters."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = compose("train", overrides=[option, *NEEDS.get(option, [])], return_hydra_config=True)
    chosen = made.hydra.runtime.choices
    root = tiny_data(f"data={chosen.data}", tmp_path, monkeypatch)
    row = (option, *(f"{name}={chosen[name]}" for name in ("arch", "init", "clustering", "reduction")))
    overrides = [override for override in small(row, tmp_path) if override not in row[1:]]
    if chosen.init == "kmeans_patches" and chosen.arch == "coates":
        overrides.append("arch.patch_size=6")
    assert trained(tmp_path / "run", *overrides, *root)["n_images"] == N
