"""Experiments and mode=official: each is what its paper or code says, changes nothing else, and can be overruled."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf
from support.configs import CONFIGS

from deepcluster.app.sweep.overrides import expand_jobs
from deepcluster.models.backbone import Backbone
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.system.targets import build

pytestmark = pytest.mark.usefixtures("composer")

ROOT = "data.root=images"
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CIFAR10 = ([0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.261])

# From the 2018 code (DeepCluster) and the paper (Deep Dive), read and worked out apart from the YAML.
# views: size, resize, crop_scale, flip. Weights: convolutions with biases, BatchNorm, linear layers, without the head.
PRESETS: dict[str, dict[str, Any]] = {
    "alexnet_imagenet": {
        "source": "folder",
        "views": (224, 256, [0.08, 1.0], True),
        "statistics": IMAGENET,
        "optimizer": (0.05, 0.9, 0.0, 1e-5),
        "batch_size": 256,
        "k": 10_000,
        "dim": 256,
        "epochs": 500,
        "probe_epochs": None,
        "network": (3, 4096, 58_272_480),
    },
    "vgg16_imagenet": {
        "source": "folder",
        "views": (224, 256, [0.08, 1.0], True),
        "statistics": IMAGENET,
        "optimizer": (0.05, 0.9, 0.0, 1e-5),
        "batch_size": 256,
        "k": 10_000,
        "dim": 256,
        "epochs": 500,
        "probe_epochs": None,
        # 138,365,992 of torchvision's vgg16_bn, less 4,097,000 of its last layer, less one input channel's 64 x 9
        "network": (3, 4096, 138_365_992 - 4_097_000 - 576),
    },
    "deepdive_fmnist": {
        "source": "fashion_mnist",
        "views": (32, 44, [0.08, 1.0], True),
        "statistics": (None, None),
        "optimizer": (0.1, 0.1, 0.1, 1e-3),
        "batch_size": 128,
        "k": 20,
        "dim": 40,
        "epochs": 50,
        "probe_epochs": 20,
        "network": (1, 84, 156 + 2_416 + 2 * (6 + 16) + 48_120 + 10_164),
    },
    "deepdive_svhn": {
        "source": "svhn",
        "views": (32, None, [0.08, 1.0], False),
        "statistics": (None, None),
        "optimizer": (0.1, 0.5, 0.5, 1e-3),
        "batch_size": 64,
        "k": 200,
        "dim": 256,
        "epochs": 100,
        "probe_epochs": 20,
        "network": (3, 2048, 9_220_746),
    },
    "deepdive_cifar10": {
        "source": "cifar10",
        "views": (32, None, [0.08, 1.0], True),
        "statistics": CIFAR10,
        "optimizer": (0.1, 0.9, 0.9, 1e-3),
        "batch_size": 64,
        "k": 2000,
        "dim": 256,
        "epochs": 100,
        "probe_epochs": 20,
        "network": (3, 2048, 9_220_746),
    },
    "deepdive_cifar10_alexnet": {
        "source": "cifar10",
        "views": (224, 256, [0.08, 1.0], True),
        "statistics": CIFAR10,
        "optimizer": (0.05, 0.9, 0.9, 1e-5),
        "batch_size": 256,
        "k": 2000,
        "dim": 256,
        "epochs": 150,
        "probe_epochs": 30,
        "network": (3, 2048, 25_537_024),
    },
}


def composed(*overrides: str) -> DictConfig:
    return compose("train", overrides=list(overrides))


def settings(*overrides: str) -> TrainConfig:
    return train_config(composed(*overrides))


def flat(cfg: DictConfig | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their values."""
    plain = OmegaConf.to_container(cfg) if isinstance(cfg, DictConfig) else cfg
    assert isinstance(plain, dict)
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def changes(*overrides: str, than: tuple[str, ...] = ()) -> dict[str, Any]:
    """Keys and values that differ with these overrides."""
    before, after = flat(composed(*than)), flat(composed(*overrides))
    return {key: value for key, value in after.items() if before.get(key, "no key") != value}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_its_papers_numbers(name: str) -> None:
    made, expected = settings(f"experiment={name}", ROOT), PRESETS[name]
    data, view, optimizer = made.data, made.view, made.optimizer
    assert (data.source, made.reading.batch_size) == (expected["source"], expected["batch_size"])
    assert (view.size, view.resize, view.crop_scale, view.flip) == expected["views"]
    assert view.crop_ratio == pytest.approx([3 / 4, 4 / 3])
    assert (view.color_jitter, view.grey_probability, view.blur_probability) == ([0] * 4, 0, 0)
    assert (view.mean, view.std) == expected["statistics"]
    assert (made.clustering.kind, made.clustering.k, made.clustering.n_iter) == ("kmeans", expected["k"], 20)  # type: ignore[attr-defined]
    assert made.clustering.start == ("kmeans++" if name.startswith("deepdive") else "images")  # type: ignore[attr-defined]
    assert (made.reduction.dim, made.reduction.whiten, made.reduction.l2) == (expected["dim"], True, True)
    rates = (optimizer.lr, optimizer.momentum, optimizer.head_momentum, optimizer.weight_decay)
    assert rates == expected["optimizer"] and optimizer.schedule == "constant"
    assert (made.reassign.epochs, made.reassign.every, made.reassign.halt_after) == (1.0, 1, None)
    assert made.sampler.kind == "uniform" and made.init.kind == "random"
    assert made.trainer["max_epochs"] == expected["epochs"]
    assert expected["probe_epochs"] in (None, made.evaluation.linear_probe.epochs)


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_network_is_its_papers(name: str) -> None:
    made = settings(f"experiment={name}", ROOT)
    in_channels, feature_dim, n_weights = PRESETS[name]["network"]
    with torch.device("meta"):  # shapes only: VGG-16 has half a gigabyte of weights
        backbone: Backbone = build(made.arch, "arch", in_channels=in_channels, image_size=made.view.size)
    assert backbone.feature_dim == feature_dim
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == n_weights
    assert (backbone.sobel is not None) == (name != "deepdive_fmnist")
    assert isinstance(list(backbone.features[0].children())[1], torch.nn.BatchNorm2d)


def written(name: str) -> tuple[list[str], dict[str, Any]]:
    """What an experiment's file says: the options that it chooses and the keys that it sets, with its parents'."""
    content = OmegaConf.to_container(OmegaConf.load(CONFIGS / "experiment" / f"{name}.yaml"))
    assert isinstance(content, dict)
    options: dict[str, str] = {}
    keys: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str):
            parents_options, keys = written(entry)
            options |= dict(option.split("=") for option in parents_options)
        else:
            options |= {str(group).removeprefix("override /"): option for group, option in entry.items()}
    return [f"{group}={option}" for group, option in options.items()], {**keys, **flat(content)}


@pytest.mark.parametrize("file", sorted((CONFIGS / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_changes_only_what_it_says(file: Path) -> None:
    options, keys = written(file.stem)
    # What the options bring along is theirs.
    changed = changes(f"experiment={file.stem}", ROOT, than=(*options, ROOT))
    said = {key: value for key, value in keys.items() if changed.get(key, value) != value}
    assert not said, "not the values that the file gives"
    assert not changed.keys() - keys.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_every_number_of_a_preset_has_its_source(name: str) -> None:
    """In a comment beside it, or above it; the standard deviations share the means'."""
    lines = (CONFIGS / "experiment" / f"{name}.yaml").read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        key, _, value = line.strip().partition(": ")
        sets_a_number = not key.startswith(("#", "-")) and any(sign.isdigit() for sign in value.partition("#")[0])
        assert not sets_a_number or "#" in value or ("#" in above and key in ("k", "dim", "std", "every")), line


def test_the_images_of_a_preset_can_come_from_elsewhere() -> None:
    made = settings("experiment=deepdive_cifar10", "data=parquet", "data.root=tables")
    assert (made.data.source, made.data.root) == ("parquet", "tables")
    assert (made.view.mean, made.view.std) == CIFAR10
    views = (made.view.size, made.view.resize, made.view.crop_scale, made.view.flip)
    assert views == PRESETS["deepdive_cifar10"]["views"] and made.reading.batch_size == 64
    made = settings("experiment=deepdive_cifar10_alexnet", "data=parquet", "data.root=tables")
    views = (made.view.size, made.view.resize, made.view.crop_scale, made.view.flip)
    assert views == PRESETS["deepdive_cifar10_alexnet"]["views"] and (made.view.mean, made.view.std) == CIFAR10
    made = settings("experiment=deepdive_fmnist", "data=fashion_mnist_mini")
    assert made.data.source == "fashion_mnist_mini" and made.view.resize == 44 and made.view.crop_scale == [0.08, 1.0]
    made = settings("experiment=alexnet_imagenet", "data=folder", "data.root=photos")
    assert made.view.size == 224 and made.view.resize == 256 and made.reading.batch_size == 256
    assert made.arch["_target_"].endswith(".AlexNet")


def test_the_command_line_overrules_a_preset() -> None:
    own = ["view.mean=[0.5,0.5,0.5]", "view.std=[0.2,0.2,0.2]", "view.size=48", "clustering.k=30", "arch=resnet18"]
    made = settings("experiment=deepdive_cifar10", "data=parquet", "data.root=tables", "optimizer=sgd_cosine", *own)
    assert (made.view.mean, made.view.std, made.view.size) == ([0.5] * 3, [0.2] * 3, 48)
    assert made.clustering.k == 30 and made.arch["name"] == "resnet18"  # type: ignore[attr-defined]
    assert settings("experiment=deepdive_fmnist", "view=strong").view.blur_probability == 0.5
    assert settings("experiment=deepdive_fmnist", "arch=resnet18").arch["name"] == "resnet18"
    measured = ["view.mean=null", "view.std=null"]
    assert settings("experiment=deepdive_cifar10", *measured).view.mean is None


# The 2018 code -----------------------------------------------------------------------------------------------------

DEFECTS = {
    "sampler.kind": "official",
    "reduction.dim": 256,
    "reduction.dim_at_most": True,
    "reduction.epsilon": 0.0,
    "reduction.fit_images": None,
    "evaluation.nmi_average": "geometric",
}
DEFECTS_OF = {  # the clustering's own
    "kmeans": {"clustering.empty": "squeeze"},
    "pic": {"clustering.drop_first_neighbour": True},
}
# What main.py and what it calls sets, as it comes, of all that changes numbers. Not here: --start_epoch and --resume,
# --workers, --checkpoints, --exp, --verbose, which change none.
BY_MODE = {
    "optimizer.lr": 0.05,  # --lr
    "optimizer.momentum": 0.9,  # --momentum
    "optimizer.weight_decay": 10**-5,  # --wd
    "optimizer.decay_norms_and_biases": True,  # all parameters in one group
    "optimizer.schedule": "constant",
    "optimizer.head_momentum": 0.0,  # train(): optimizer_tl has none
    "reassign.epochs": 1.0,  # --reassign
    "reassign.every": 1,
    "reassign.halt_after": None,
    "embedding.kind": "none",
    "rows.of": "features",
    "head.kind": "linear",
    "head.redraw": True,
    "targets.kind": "lookup",
    "sampler.kind": "official",  # util.py, UnifLabelSampler
    "reduction.dim": 256,  # clustering.py, preprocess_features, with faiss's PCA of all rows
    "reduction.whiten": True,
    "reduction.l2": True,
    "reduction.epsilon": 0.0,
    "reduction.fit_images": None,
    "evaluation.nmi_average": "geometric",
}
BY_MODE_OF: dict[str, dict[str, Any]] = {
    "kmeans": {  # run_kmeans; n_redo, spherical: faiss.Clustering's defaults
        "clustering.n_iter": 20,
        "clustering.max_points_per_centroid": None,  # 10,000,000
        "clustering.n_redo": 1,
        "clustering.spherical": False,
        "clustering.start": "images",
        "clustering.sizes": "free",
        "clustering.empty": "squeeze",
    },
    "pic": {  # class PIC, run_pic
        "clustering.n_neighbours": 5,
        "clustering.sigma": 0.2,
        "clustering.alpha": 0.001,
        "clustering.n_iter": 200,
        "clustering.distribute_singletons": True,
        "clustering.drop_first_neighbour": True,
    },
}
BY_EXPERIMENT = {
    "arch._target_": "deepcluster.models.alexnet.AlexNet",  # --arch
    "arch.sobel": True,  # --sobel of main.sh
    "reading.batch_size": 256,  # --batch
    "clustering.k": 10_000,  # --nmb_cluster
    "view.size": 224,  # main() and cluster_assign()
    "view.resize": 256,
    "view.crop_scale": [0.08, 1.0],  # torchvision's RandomResizedCrop
    "view.crop_ratio": [3 / 4, 4 / 3],
    "view.flip": True,
    "view.mean": IMAGENET[0],
    "view.std": IMAGENET[1],
}
TYPED = {"seed": 31, "trainer.max_epochs": 200}  # --seed; --epochs, of which the paper has 500


@pytest.mark.parametrize("experiment", [[], ["experiment=cifar10"], ["experiment=alexnet_imagenet", ROOT]])
@pytest.mark.parametrize("clustering", DEFECTS_OF)
def test_mode_official_is_the_2018_codes_defects_and_nothing_else(experiment: list[str], clustering: str) -> None:
    if clustering == "pic" and experiment:
        pytest.skip("the experiments choose K, which PIC finds itself")
    plain = (*experiment, f"clustering={clustering}")
    expected: dict[str, Any] = DEFECTS | DEFECTS_OF[clustering]
    if experiment:
        del expected["reduction.dim"]  # these have 256 of their own
    assert changes(*plain, "mode=official", than=plain) == expected
    assert changes(*plain, "mode=correct", than=plain) == {}
    settings(*plain, "mode=official")


@pytest.mark.parametrize("clustering", BY_MODE_OF)
def test_mode_official_gives_every_number_of_the_2018_program_but_those_of_an_experiment(clustering: str) -> None:
    expected = BY_MODE | BY_MODE_OF[clustering]
    made = flat(composed("mode=official", f"clustering={clustering}"))
    assert {key: made[key] for key in expected} == expected


def test_with_its_experiment_epochs_and_seed_mode_official_gives_them_all() -> None:
    expected = BY_MODE | BY_MODE_OF["kmeans"] | BY_EXPERIMENT | TYPED
    typed = [f"{key}={value}" for key, value in TYPED.items()]
    made = flat(composed("experiment=alexnet_imagenet", ROOT, "mode=official", *typed))
    assert {key: pytest.approx(made[key]) if "ratio" in key else made[key] for key in expected} == expected


def test_the_dimensions_of_an_experiment_stay_with_mode_official() -> None:
    assert settings("experiment=deepdive_fmnist", "mode=official").reduction.dim == 40


def test_pic_with_its_defects_is_the_same_option_by_either_way() -> None:
    by_option = settings("mode=official", "clustering=pic_official")
    assert settings("mode=official", "clustering=pic") == by_option


def test_one_defect_can_be_left_out() -> None:
    without = changes("mode=official", "sampler=uniform", "clustering.empty=repair", "experiment=cifar10")
    assert not without.keys() & {"sampler.kind", "clustering.empty"} and without["reduction.epsilon"] == 0.0


def test_both_modes_are_one_sweep() -> None:
    jobs = expand_jobs(["mode=correct,official", "seed=1,2,3", "experiment=deepdive_fmnist"])
    made = [settings(*job) for job in jobs]
    assert [(m.sampler.kind, m.seed) for m in made] == [(k, s) for k in ("uniform", "official") for s in (1, 2, 3)]
    assert {m.optimizer.lr for m in made} == {0.1}


@pytest.mark.parametrize("method", ["deepcluster", "deepcluster_v2", "sela", "swav"])
@pytest.mark.parametrize("experiment", ["photographs", "cifar10_swav"])
def test_a_method_named_beside_an_experiment_is_that_method(experiment: str, method: str) -> None:
    groups = ("embedding", "rows", "head", "targets", "sampler")
    alone = composed(f"method={method}")
    beside = composed(f"experiment={experiment}", f"method={method}", "other_rows=none")  # every group can be changed
    assert {group: beside[group] for group in groups} == {group: alone[group] for group in groups}
    assert beside.view.n_large == alone.view.n_large and beside.clustering.kind == alone.clustering.kind


def test_heads_beside_fade_over_a_share_of_the_epochs() -> None:
    assert composed("experiment=photographs", "trainer.max_epochs=20").other_rows.fade_epochs == pytest.approx(14)
