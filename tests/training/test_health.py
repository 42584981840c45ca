"""What is said of a run's numbers, by worked examples; a run that collapses stops; watching changes nothing."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny

from deepcluster.training.health import (
    advice,
    collapse,
    effective_rank,
    knn_of_crops,
    loss_share,
    nearest_is_own,
    one_cluster,
)
from deepcluster.training.health_check import health_line
from deepcluster.training.monitor_settings import Monitor

HEALTHY = {  # the embedded images after four epochs, K = 50
    "two_crop_agreement": 0.41,
    "effective_rank": 4.7,
    "knn_accuracy": 0.58,
    "loss_share": 0.51,
    "accuracy": 0.37,
    "largest_share": 0.05,
    "dead_share": 0.0,
}
UNTRAINED = {"two_crop_agreement": 0.23, "effective_rank": 19.1, "knn_accuracy": 0.53}


def said(*, untrained: dict[str, float] = UNTRAINED, n_steps: int = 300, n_images: int = 500, **changes: float) -> Any:
    return advice({**HEALTHY, **changes}, untrained, n_images=n_images, n_steps=n_steps, k=50)


@pytest.mark.parametrize("dim", [3, 40])
def test_the_effective_rank_counts_equal_directions(dim: int) -> None:
    """Rows +e_i and -e_i of 3 directions, in a space of fewer or more dimensions than rows."""
    axes = torch.eye(3, dim)
    assert effective_rank(torch.cat([axes, -axes]) + 5) == pytest.approx(3)


def test_the_effective_rank_of_equal_rows_is_0_and_of_a_line_1() -> None:
    assert effective_rank(torch.full((8, 4), 0.1)) == 0
    assert effective_rank(torch.arange(8.0)[:, None] * torch.ones(4)) == pytest.approx(1)


def test_crops_are_nearest_to_their_own_in_two_of_four_cases() -> None:
    first = torch.eye(4)
    assert nearest_is_own(first, first[[0, 1, 3, 2]] * 7) == 0.5


def test_knn_of_crops_never_asks_the_image_itself() -> None:
    """Every image's own crop is nearest, but all others of its corner have the other label."""
    labels = torch.tensor([0] * 11 + [1] * 11)
    corners = torch.eye(2)[labels]
    assert knn_of_crops(corners, corners, labels) == 1
    lonely = torch.cat([labels, torch.tensor([1])])
    assert knn_of_crops(corners[[*range(22), 0]], corners[[*range(22), 0]], lonely) == pytest.approx(22 / 23)
    assert knn_of_crops(corners, corners, labels * 0) is None
    assert knn_of_crops(corners, corners, torch.where(torch.arange(22) < 10, labels, -1)) is None


def test_knn_of_crops_is_the_vote_of_the_ten_nearest_crops_of_other_images() -> None:
    first = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    second, labels, n_right = 1.1 * first + 0.01, torch.arange(40) % 2, 0  # each crop is nearest to its own
    for i, crop in enumerate(first):
        cosines = torch.nn.functional.cosine_similarity(crop[None], second)
        others = sorted((j for j in range(40) if j != i), key=lambda j: -float(cosines[j]))
        n_right += (int(labels[others[:10]].sum()) > 5) == bool(labels[i])  # of equal votes the smaller label
    assert knn_of_crops(first, second, labels) == pytest.approx(n_right / 40)


def test_the_loss_is_compared_with_the_mean_ln_k() -> None:
    assert loss_share(math.log(10), [100]) == pytest.approx(0.5)
    assert loss_share(math.log(10), [10, 1000]) == pytest.approx(0.5)


def test_nothing_is_said_of_a_healthy_run() -> None:
    assert said() == {}


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("loss", {"loss_share": 0.99, "accuracy": 0.02}, "stays at 0.99 of ln K, which is guessing: nothing is"),
        ("giant", {"largest_share": 0.6}, "one of 50 clusters holds 60% of the images"),
        ("dead", {"dead_share": 0.3}, "30% of the clusters found no image of their own; lower clustering.k"),
        ("prototypes", {"prototypes_used": 0.1}, "only 10% of the prototypes"),
        ("rank", {"effective_rank": 1.3}, "effective rank 1.3, 19.1 for the untrained network"),
        ("agreement", {"two_crop_agreement": 0.24}, "share a cluster in 24% of cases, 23% for the untrained network"),
        ("knn", {"knn_accuracy": 0.4}, "k-NN accuracy on crops is 40%, 53% for the untrained network"),
    ],
)
def test_what_looks_wrong_is_said_alone(kind: str, changes: dict[str, float], words: str) -> None:
    told = said(**changes)
    assert list(told) == [kind] and words in told[kind]


def test_early_steps_few_images_and_unknown_beginnings_say_less() -> None:
    wrong = {"loss_share": 0.99, "accuracy": 0.02, "two_crop_agreement": 0.24, "knn_accuracy": 0.4}
    assert set(said(**wrong)) == {"loss", "agreement", "knn"}
    assert said(n_steps=299, **wrong) == {}
    assert set(said(n_images=100, **wrong)) == {"loss"}
    assert set(said(untrained={}, **wrong)) == {"loss"}
    assert said(loss_share=0.99, accuracy=0.05) == {}  # above chance: the head has begun to learn


def test_crops_that_nearly_all_agreed_from_the_start_cannot_gain() -> None:
    assert said(untrained={**UNTRAINED, "two_crop_agreement": 0.95}, two_crop_agreement=0.95) == {}


def test_one_direction_stops_a_run_only_if_there_were_more() -> None:
    line = {"effective_rank": 1.02, "loss_share": 1.0, "accuracy": 0.02}
    assert "along one direction only (effective rank 1.02, 19.1" in str(collapse(line, UNTRAINED, k=50))
    assert collapse({**line, "loss_share": 0.9}, UNTRAINED, k=50) is None  # it still learns
    assert "the same for all images" in str(collapse({"effective_rank": 0.0}, UNTRAINED, k=50))
    assert collapse(line, UNTRAINED, k=2) is None  # two clusters need no more
    assert collapse(line, {"effective_rank": 1.1}, k=50) is None
    assert collapse(line, None, k=50) is None
    assert collapse(HEALTHY, UNTRAINED, k=50) is None


def test_one_cluster_stops_a_run_only_if_the_first_were_several() -> None:
    assert "one of 50 holds 93% of the images" in str(one_cluster(0.93, k=50, was_whole=True))
    assert one_cluster(0.93, k=50, was_whole=False) is None
    assert one_cluster(0.93, k=2, was_whole=True) is None
    assert one_cluster(0.89, k=50, was_whole=True) is None


def test_the_line_shows_the_untrained_network_in_brackets() -> None:
    logged = {"health/effective_rank": 4.71, "health/two_crop_agreement": 0.41, "health/loss_share": 0.51}
    line = "two crops share a cluster 41% (23%), effective rank 4.7 (19.1), loss / ln K 0.51"
    assert health_line(logged, UNTRAINED) == line


# Runs -----------------------------------------------------------------------------------------------------------------


def breaks_in_epoch_1(run: tiny.Run) -> None:
    """From the second epoch on all features are the same."""

    def flatten(trainer: Any, number: int) -> None:
        if trainer.current_epoch == 1:
            with torch.no_grad():
                for parameter in run.module.backbone.parameters():
                    parameter.zero_()

    run.seen.on_batch = flatten


def test_watching_changes_no_weight_and_a_resumed_run_compares_with_the_same_beginning(tmp_path: Path) -> None:
    plain = tiny.build(tmp_path / "plain").fit()
    watched = tiny.build(tmp_path / "watched")
    health = tiny.watch(watched, Monitor(every_n_epochs=1, n_images=40))
    watched.fit()
    assert all(torch.equal(value, watched.weights()[name]) for name, value in plain.weights().items())
    logged = watched.trainer.callback_metrics
    assert 0 <= float(logged["health/two_crop_agreement"]) <= 1 and float(logged["health/effective_rank"]) > 1
    killed = tiny.build(tmp_path / "killed", every_n_steps=1, kill_after=(2, 2))
    tiny.watch(killed, Monitor(every_n_epochs=1, n_images=40))
    with pytest.raises(tiny.Killed):
        killed.fit()
    resumed = tiny.build(tmp_path / "killed")
    again = tiny.watch(resumed, Monitor(every_n_epochs=1, n_images=40))
    resumed.fit(resume=True)
    assert again.state_dict() == health.state_dict()


def test_the_loss_of_an_epoch_whose_rate_has_fallen_is_no_reason_for_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny.build(tmp_path / "run")
    health = tiny.watch(run, Monitor(every_n_epochs=1, n_images=40))
    run.fit()
    monkeypatch.setattr("deepcluster.training.health.FEWEST_STEPS", 1)
    logged = {"health/loss_share": 1.0, "health/effective_rank": 9.0, "train/accuracy": 0.0}
    assert "stays at 1.00 of ln K" in health.decide(run.trainer, run.module, logged)[1]["loss"]
    for group in run.trainer.optimizers[0].param_groups:
        group["lr"] *= 0.05  # as at the end of a cosine, where a head that is drawn anew learns nothing more
    assert "loss" not in health.decide(run.trainer, run.module, logged)[1]


def test_a_run_that_collapses_stops_and_keeps_the_checkpoint_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tiny.build(tmp_path / "stops", max_epochs=5)
    tiny.watch(run, Monitor(every_n_epochs=3))
    breaks_in_epoch_1(run)
    with pytest.raises(ValueError, match="epoch 3: the network has collapsed: its features are the same"):
        run.fit()
    kept = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 1
    goes_on = tiny.build(tmp_path / "goes_on", max_epochs=3)
    tiny.watch(goes_on, Monitor(every_n_epochs=3, stops=False))
    breaks_in_epoch_1(goes_on)
    with caplog.at_level(logging.WARNING):
        goes_on.fit()
    assert caplog.text.count("the network has collapsed") == 1
