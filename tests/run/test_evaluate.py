"""eval.py without a checkpoint: its untrained networks are those with which train.py starts."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose

from deepcluster.clustering.metrics import nmi
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.run.evaluate import evaluate
from deepcluster.run.parts import build_parts
from deepcluster.run.train import train
from deepcluster.settings.eval import eval_config
from deepcluster.settings.train import train_config

pytestmark = pytest.mark.usefixtures("composer")

NETWORK = ["arch=lenet5_bn", "data=fashion_mnist_mini", "data.limit=200", "view=deepdive_32"]


@pytest.mark.parametrize("init", ["init=random", "init=kmeans_patches"])
def test_initial_alignment_is_that_of_the_clusters_with_which_a_run_starts(init: str, tmp_path: Path) -> None:
    sizes = [] if init == "init=random" else ["init.n_patches=500"]
    chosen = ["evaluation=initial_alignment", "evaluation.k=[4]", "evaluation.dim=[null,9]", "evaluation.n_seeds=2"]
    typed = [*NETWORK, init, *sizes, *chosen, "seed=3"]
    settings = eval_config(compose("eval", typed), typed)
    found = evaluate(settings, tmp_path)
    assert found["arch"]["batch_norm"] is True and found == json.loads((tmp_path / "results.json").read_text())
    for dim in (9, None):
        expected = []
        for seed in (3, 4):
            whiten = "true" if dim else "false"
            reduction = [f"reduction.dim={dim or 'null'}", f"reduction.whiten={whiten}", "clustering.k=4"]
            parts = build_parts(train_config(compose("train", [*NETWORK, init, *sizes, *reduction, f"seed={seed}"])))
            assert parts.images.labels is not None
            clusters, _ = parts.clusterer.assign(parts.backbone, device=parts.device, moment="untrained")
            expected.append(nmi(clusters.labels, parts.images.labels))
        name = "k4_no_pca" if dim is None else f"k4_pca{dim}"
        assert found[f"nmi_min_{name}"] == min(expected) and found[f"nmi_max_{name}"] == max(expected)
        assert expected[0] != expected[1]


def test_a_draw_does_not_depend_on_those_before(tmp_path: Path) -> None:
    from deepcluster.weights.network import build_backbone

    card = {"arch": {"_target_": "deepcluster.models.lenet.LeNet5"}, "in_channels": 1, "image_size": 32}
    first = build_backbone(card, seed=5).state_dict()
    build_backbone(card, seed=6)
    again = build_backbone(card, seed=5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_what_the_run_learned_from_is_asked_for_only_when_it_is_needed(tmp_path: Path) -> None:
    """The config of another version hinders neither pictures of weights nor images that are named."""
    typed = [
        "data=fashion_mnist_mini",
        "data.limit=50",
        "clustering.k=4",
        "reduction.dim=3",
        "evaluation.enabled=false",
    ]
    run_folder = tmp_path / "run"
    train(train_config(compose("train", [*typed, "arch=lenet5_bn", "trainer.max_epochs=0"])), run_folder)
    file = run_folder / "config.yaml"
    file.write_text(file.read_text() + "of_another_version: 1\n")

    def evaluated(*more: str) -> dict[str, object]:
        words = [f"ckpt={run_folder}", *more]
        return evaluate(eval_config(compose("eval", words), words), tmp_path)

    evaluated("evaluation=first_filters")
    assert evaluated("evaluation=assign", "data=fashion_mnist_mini", "data.limit=7")["n_images"] == 7
    with pytest.raises(ValueError, match=r"not the config of a run of this version.*say data=\.\.\. as well"):
        evaluated("evaluation=assign")


def test_features_are_computed_in_the_precision_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*NETWORK, "evaluation=initial_alignment"]
    seen: list[torch.dtype] = []

    def run(self: object, context: EvaluationContext) -> dict[str, float]:
        seen.append(context.dtype)
        return {}

    monkeypatch.setattr("deepcluster.features.precision.vendor_and_flags", lambda: ("GenuineIntel", {"amx_bf16"}))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for words in ([], ["precision=32-true"], ["precision=bf16-mixed"]):
        settings = eval_config(compose("eval", [*typed, *words]), [*typed, *words])
        monkeypatch.setattr(type(settings.evaluation), "run", run)
        evaluate(settings, tmp_path)
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16]
    words = [*typed, "precision=16-mixed"]
    with pytest.raises(ValueError, match="precision must be one of auto, 32-true, bf16-mixed, got '16-mixed'"):
        eval_config(compose("eval", words), words)


def test_what_could_not_be_measured_is_null_as_json_has_no_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = [*NETWORK, "evaluation=initial_alignment"]
    settings = eval_config(compose("eval", typed), typed)
    monkeypatch.setattr(type(settings.evaluation), "run", lambda self, context: {"agreement": float("nan"), "n": 3})
    found = evaluate(settings, tmp_path)
    assert found["agreement"] is None and found["n"] == 3
    assert json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail) == found
