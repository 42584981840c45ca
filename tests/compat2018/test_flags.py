"""The 2018 scripts' flags, driven through to the composed settings. Defaults were read in the 2018 code's argparse."""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from deepcluster.compat2018.flags import SCRIPTS, Command, Parser, translate
from deepcluster.settings.eval import eval_config
from deepcluster.settings.resume import new_or_resumed_config
from deepcluster.settings.stored import write_config
from deepcluster.settings.train import train_config
from deepcluster.system.nested import flat

pytestmark = pytest.mark.usefixtures("composer")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the commands below name: images (DATA) and a file (MODEL)."""
    folder = tmp_path_factory.mktemp("there")
    (folder / "DATA" / "jpg").mkdir(parents=True)
    (folder / "MODEL").touch()
    return folder


def plain(cfg: DictConfig) -> dict[str, Any]:
    return flat(OmegaConf.to_container(cfg, throw_on_missing=False))  # type: ignore[arg-type]


def command(line: str, there: Path) -> Command:
    return translate([str(there / word) if word in ("DATA", "MODEL") else word for word in shlex.split(line)])


@cache
def composed(line: str, there: Path) -> dict[str, Any]:
    made = command(line, there)
    assert made.job is not None
    return plain(compose(made.job, made.words))


MAIN = "DATA --exp EXP"
OF_MAIN: dict[str, tuple[str, dict[str, Any]]] = {  # flag -> what is typed, what is then set
    "--arch": ("--arch vgg16", {"arch._target_": "deepcluster.models.vgg.VGG16"}),
    "-a": ("-a vgg16", {"arch._target_": "deepcluster.models.vgg.VGG16"}),
    "--sobel": ("--sobel", {"arch.sobel": True}),
    "--clustering": ("--clustering PIC", {"clustering.kind": "pic", "clustering.drop_first_neighbour": True}),
    "--nmb_cluster": ("--nmb_cluster 70", {"clustering.k": 70}),
    "--k": ("--k 70", {"clustering.k": 70}),
    "--lr": ("--lr .2", {"optimizer.lr": 0.2}),
    "--wd": ("--wd -3", {"optimizer.weight_decay": 1e-3}),
    "--reassign": ("--reassign .5", {"reassign.epochs": 0.5}),
    "--workers": ("--workers 12", {"reading.num_workers": 12}),
    "--epochs": ("--epochs 9", {"trainer.max_epochs": 9}),
    "--start_epoch": ("--start_epoch 180", {"trainer.max_epochs": 20}),
    "--batch": ("--batch 32", {"reading.batch_size": 32}),
    "--momentum": ("--momentum .5", {"optimizer.momentum": 0.5}),
    "--resume": ("--resume MODEL", {"init.kind": "weights"}),
    "--checkpoints": ("--checkpoints 100", {"checkpoint.every_n_steps": 100}),
    "--seed": ("--seed 7", {"seed": 7}),
    "--exp": ("--exp OTHER", {"output_dir": "OTHER"}),
    "--verbose": ("--verbose", {}),
}
DEFAULTS_OF_MAIN = {
    "arch._target_": "deepcluster.models.alexnet.AlexNet",
    "arch.sobel": False,
    "clustering.kind": "kmeans",
    "clustering.k": 10_000,
    "optimizer.lr": 0.05,
    "optimizer.weight_decay": 1e-5,
    "reassign.epochs": 1.0,
    "reading.num_workers": 4,
    "trainer.max_epochs": 200,
    "reading.batch_size": 256,
    "optimizer.momentum": 0.9,
    "checkpoint.every_n_steps": 25_000,
    "seed": 31,
}

EVALUATIONS: dict[str, tuple[str, dict[str, tuple[str, dict[str, Any]]], dict[str, Any]]] = {
    "eval_linear": (  # the required flags; the others as above; defaults
        "--data DATA --model MODEL --conv 3 --exp EXP",
        {
            "--conv": ("--conv 5", {"evaluation.stages": ["conv5"]}),
            "--tencrops": ("--tencrops", {"evaluation.original.ten_crops": True}),
            "--exp": ("--exp OTHER", {"output_dir": "OTHER"}),
            "--workers": ("--workers 12", {"reading.num_workers": 12}),
            "--epochs": ("--epochs 3", {"evaluation.original.epochs": 3}),
            "--batch_size": ("--batch_size 8", {"evaluation.original.batch_size": 8}),
            "--lr": ("--lr .1", {"evaluation.original.lr": 0.1}),
            "--momentum": ("--momentum .9", {}),
            "--weight_decay": ("--weight_decay -7", {"evaluation.original.weight_decay": 1e-7}),
            "--wd": ("--wd -7", {"evaluation.original.weight_decay": 1e-7}),
            "--seed": ("--seed 5", {"seed": 5}),
            "--verbose": ("--verbose", {}),
        },
        {
            "evaluation.kind": "linear_probe",
            "evaluation.protocol": "original",
            "evaluation.stages": ["conv3"],
            "evaluation.original.ten_crops": False,
            "evaluation.original.epochs": 90,
            "evaluation.original.batch_size": 256,
            "evaluation.original.lr": 0.01,
            "evaluation.original.weight_decay": 1e-4,
            "reading.num_workers": 4,
            "seed": 31,
            "precision": "32-true",
        },
    ),
    "eval_voc_classif": (
        "--vocdir DATA --model MODEL",
        {
            "--split": ("--split trainval", {"evaluation.train_split": "trainval", "evaluation.test_split": "test"}),
            "--nit": ("--nit 9", {"evaluation.training.n_iterations": 9}),
            "--fc6_8": ("--fc6_8 0", {"evaluation.training.mode": "all"}),
            "--train_batchnorm": ("--train_batchnorm 1", {"evaluation.training.train_batchnorm": True}),
            "--eval_random_crops": ("--eval_random_crops 0", {"evaluation.test_crops": "fixed"}),
            "--stepsize": ("--stepsize 70", {"evaluation.training.lr_halved_every": 70}),
            "--lr": ("--lr .1", {"evaluation.training.lr": 0.1}),
            "--wd": ("--wd .001", {"evaluation.training.weight_decay": 1e-3}),
            "--min_scale": ("--min_scale .2", {"evaluation.training.crop_scale": [0.2, 0.5]}),
            "--max_scale": ("--max_scale 1", {"evaluation.training.crop_scale": [0.1, 1.0]}),
            "--seed": ("--seed 5", {"seed": 5}),
        },
        {
            "evaluation.kind": "voc07",
            "evaluation.train_split": "train",
            "evaluation.test_split": "val",
            "evaluation.training.n_iterations": 80_000,
            "evaluation.training.mode": "fc6_8",
            "evaluation.training.train_batchnorm": False,
            "evaluation.test_crops": "random",
            "evaluation.training.lr_halved_every": 5000,
            "evaluation.training.lr": 0.003,
            "evaluation.training.weight_decay": 1e-6,
            "evaluation.training.crop_scale": [0.1, 0.5],
            "seed": 31,
        },
    ),
    "eval_retrieval": (
        "--dataset DATA --model MODEL --temp_dir TEMP --eval_binary compute_ap --stage eval",
        {
            "--S": ("--S 800", {"evaluation.sizes": [800]}),
            "--L": ("--L 2", {"evaluation.levels": 2}),
            "--n_pca": ("--n_pca 32", {"evaluation.n_pca": 32}),
            "--dataset_name": ("--dataset_name Paris", {}),
            "--eval_binary": ("--eval_binary other", {}),
            "--multires": ("--multires", {}),
            "--aqe": ("--aqe 5", {}),
            "--dbe": ("--dbe 5", {}),
        },
        {
            "evaluation.kind": "retrieval",
            "evaluation.sizes": [1024],
            "evaluation.levels": 3,
            "evaluation.n_pca": 512,
            "evaluation.aqe": 0,
        },
    ),
    "gradient_ascent": (
        "--model MODEL --exp EXP",
        {
            "--arch": ("--arch vgg16 --conv 13", {"evaluation.stage": "conv13", "output_dir": "EXP/conv13"}),
            "--conv": ("--conv 5", {"evaluation.stage": "conv5", "output_dir": "EXP/conv5"}),
            "--exp": ("--exp OTHER", {"output_dir": "OTHER/conv1"}),
            "--lr": ("--lr 30", {"evaluation.lr": 30.0}),
            "--wd": ("--wd .1", {"evaluation.weight_decay": 0.1}),
            "--sig": ("--sig .3", {}),
            "--step": ("--step 5", {}),
            "--niter": ("--niter 3000", {"evaluation.n_steps": 3000}),
            "--idim": ("--idim 64", {"evaluation.size": 64}),
        },
        {
            "evaluation.kind": "gradient_ascent",
            "evaluation.recipe": "official",
            "evaluation.stage": "conv1",
            "evaluation.lr": 3.0,
            "evaluation.weight_decay": 1e-5,
            "evaluation.n_steps": 1000,
            "evaluation.size": 224,
        },
    ),
    "activ-retrieval": (
        "--data DATA --model MODEL --exp EXP",
        {
            "--conv": ("--conv 5", {"evaluation.stage": "conv5", "output_dir": "EXP/conv5"}),
            "--exp": ("--exp OTHER", {"output_dir": "OTHER/conv1"}),
            "--count": ("--count 4", {"evaluation.n_top": 4}),
            "--workers": ("--workers 12", {"reading.num_workers": 12}),
        },
        {"evaluation.kind": "top_images", "evaluation.stage": "conv1", "evaluation.n_top": 9},
    ),
}


def flags_of(script: str) -> set[str]:
    parser = Parser()
    SCRIPTS[script][0](parser.add_argument)
    return {flag for action in parser._actions for flag in action.option_strings} - {"-h", "--help"}


def test_every_flag_is_tried_below() -> None:
    given = {"eval_linear": 2, "eval_voc_classif": 2, "eval_retrieval": 4, "gradient_ascent": 1, "activ-retrieval": 2}
    assert flags_of("main") == OF_MAIN.keys()
    for script, (required, others, _) in EVALUATIONS.items():
        of_required = {word for word in shlex.split(required) if word.startswith("--")}
        assert flags_of(script) == others.keys() | of_required and len(of_required - others.keys()) == given[script]


def test_the_defaults_are_those_of_main_py(there: Path) -> None:
    made = composed(MAIN, there)
    assert {key: pytest.approx(made[key]) if "decay" in key else made[key] for key in DEFAULTS_OF_MAIN} == (
        DEFAULTS_OF_MAIN
    )
    assert made["output_dir"] == "EXP" and made["data.root"] == str(there / "DATA")
    assert command("DATA", there).folder.parts[0] == "runs"


@pytest.mark.parametrize("flag", OF_MAIN)
def test_a_flag_of_main_py_sets_what_it_says_and_nothing_else(flag: str, there: Path) -> None:
    typed, expected = OF_MAIN[flag]
    before, cfg = composed(MAIN, there), compose("train", command(f"{MAIN} {typed}", there).words)
    train_config(cfg)  # it is a run that can be made
    after = plain(cfg)
    changed = {key: value for key, value in after.items() if before.get(key, "no key") != value}
    assert {key: changed.get(key, "unchanged") for key in expected} == {
        key: pytest.approx(value) if isinstance(value, float) else value for key, value in expected.items()
    }
    groups = {key.partition(".")[0] for key in expected}
    assert {key.partition(".")[0] for key in changed} <= groups


def test_main_sh_is_the_papers_experiment_with_mode_official(there: Path) -> None:
    line = "DATA --exp EXP --arch alexnet --lr 0.05 --wd -5 --k 10000 --sobel --verbose --workers 12"
    ours = ["experiment=alexnet_imagenet", "mode=official", "seed=31", "trainer.max_epochs=200"]
    ours += [f"data.root={there / 'DATA'}", "trainer.precision=32-true"]
    expected, found = plain(compose("train", ours)), composed(line, there)
    differ = {key: found.get(key) for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
    assert differ == {
        "reading.on_broken": "error",  # the numbers of images in `clusters` are places among all files
        "reading.num_workers": 12,
        "checkpoint.every_n_steps": 25_000,
        "output_dir": "EXP",
    }


@pytest.mark.parametrize(("script", "flag"), [(s, f) for s, (_, flags, _) in EVALUATIONS.items() for f in flags])
def test_a_flag_of_an_evaluation_sets_what_it_says(
    script: str, flag: str, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    required, flags, defaults = EVALUATIONS[script]
    typed, expected = flags[flag]
    command("eval_retrieval --dataset DATA --temp_dir TEMP --eval_binary b", there)
    before, after = (composed(f"visu/{script}.py {required} {more}".strip(), there) for more in ("", typed))
    for key, value in defaults.items():
        assert before[key] == (pytest.approx(value) if isinstance(value, float) else value), key
    assert before["ckpt"] == str(there / "MODEL")
    changed = {key: value for key, value in after.items() if before[key] != value and not key.startswith("hydra")}
    if "output_dir" not in expected:
        changed.pop("output_dir", None)  # of the second when the command was typed
    assert changed == {key: pytest.approx(v) if isinstance(v, float) else v for key, v in expected.items()}


@pytest.mark.parametrize("script", EVALUATIONS)
def test_an_evaluation_is_one_that_can_be_made(
    script: str, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command("eval_retrieval --dataset DATA --temp_dir TEMP --eval_binary b", there)
    made = command(f"{script} {EVALUATIONS[script][0]}", there)
    assert eval_config(compose("eval", made.words), made.words).ckpt == str(there / "MODEL")


def test_the_five_stages_of_eval_retrieval_sh_are_one_evaluation(there: Path, tmp_path: Path) -> None:
    (tmp_path / "Oxford" / "jpg").mkdir(parents=True)
    shared = f"eval_retrieval.py --model MODEL --eval_binary compute_ap --temp_dir {tmp_path / 'temp'}"
    with pytest.raises(ValueError, match=r"pca_root.txt: call --stage train_pca first"):
        command(f"{shared} --dataset DATA --stage eval", there)
    for stage in ("extract_train", "train_pca"):
        assert command(f"{shared} --dataset {tmp_path / 'Oxford'} --stage {stage}", there).job is None
    for stage in ("q_features", "db_features"):
        assert command(f"{shared} --dataset DATA --stage {stage}", there).job is None
    made = composed(f"{shared} --dataset DATA --dataset_name Paris --stage eval", there)
    assert made["evaluation.root"] == str(there / "DATA")
    assert made["evaluation.pca_root"] == str(tmp_path / "Oxford" / "jpg")
    assert made["output_dir"] == str(tmp_path / "temp" / "eval")


def test_a_checkpoint_beside_a_run_goes_on_with_it(there: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_config(train_config(compose("train", command(f"DATA --exp {run} --sobel --k 70", there).words)), run)
    line = f"DATA --sobel --k 70 --resume {run / 'checkpoint.pth.tar'} --epochs 300 --workers 2"
    made = command(line, there)
    settings = new_or_resumed_config(compose("train", made.words), made.words)
    assert made.folder == run and settings.resume == str(run)
    assert (settings.trainer["max_epochs"], settings.reading.num_workers) == (300, 2)
    assert settings.sampler.kind == "official" and settings.arch["_target_"].endswith("AlexNet")
    made = command(f"{line} --lr 1", there)
    with pytest.raises(ValueError, match=r"optimizer.lr=1.0 cannot change in a resumed run"):
        new_or_resumed_config(compose("train", made.words), made.words)
    with pytest.raises(ValueError, match="is of alexnet with --sobel"):
        command(line.replace("--sobel", ""), there)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nowhere --sobel", "nowhere is no folder of images and no script of 2018; the scripts are main, eval_linear"),
        ("evallinear.py --conv 3", "did you mean eval_linear?"),
        ("--sobel nowhere", "nowhere: there is no such folder of images"),
        ("DATA --start_epoch 200", "--start_epoch=200 leaves none of --epochs=200"),
        ("DATA --resume nowhere", "--resume=nowhere: there is no such file"),
        ("eval_linear --data DATA --conv 3", "--model is missing"),
        ("eval_linear --data DATA --model MODEL --conv 3 --momentum .5", "--momentum=0.5 is not offered; only 0.9"),
        ("gradient_ascent --model MODEL --conv 6", "--conv=6: alexnet has the convolutions 1 to 5"),
        ("gradient_ascent --model MODEL --sig 1", "--sig=1.0 is not offered"),
        ("activ-retrieval --data DATA --model MODEL --count 0", "--count=0"),
        ("eval_retrieval --dataset DATA --eval_binary b --stage eval", "--model=pretrained"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(line: str, message: str, there: Path) -> None:
    with pytest.raises(ValueError) as refused:
        command(line, there)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("line", "meant"),
    [("DATA --nmb_clusters 5", "--nmb_cluster"), ("eval_linear --conv 3 --ten_crops", "--tencrops")],
)
def test_an_unknown_flag_is_answered_by_the_one_that_was_meant(
    line: str, meant: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(line, there)
    assert f"did you mean {meant}?" in capsys.readouterr().err
