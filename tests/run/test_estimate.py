"""The estimate: its arithmetic by hand, its refusals, and that it changes nothing."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.pic import PIC
from deepcluster.features.bank import MemoryBank
from deepcluster.features.storage import Storage
from deepcluster.run import costs, estimate
from deepcluster.run.costs import Costs
from deepcluster.run.parts import build_parts
from deepcluster.run.plan import plan_of
from deepcluster.run.sizes import Plan, Sizes
from deepcluster.run.sizes import sizes as sizes_of
from deepcluster.run.train import train
from deepcluster.settings.resume import resumed_config
from deepcluster.settings.stored import read_stored_config
from deepcluster.settings.train import TrainConfig, train_config
from deepcluster.weights import patch_filters

pytestmark = pytest.mark.usefixtures("composer")

SMALL = ["data.limit=200", "clustering.k=5", "reduction.dim=8", "trainer.max_epochs=3", "evaluation.knn.k=5"]
COSTS = Costs(
    image_s=0.001,
    moments_s=0.0002,
    fit_s=3.0,
    apply_s=0.0001,
    distance_s=1e-9,
    step_s=0.5,
    extraction_bytes=10**8,
    training_bytes=2 * 10**8,
    probed_dim=1000,
    baseline_s=0.002,
    baseline_dim=500,
    figures_s=0.003,
    small_s=0.004,
)


def settings(*overrides: str) -> TrainConfig:
    return train_config(compose("train", [*SMALL, *overrides]))


def plan(chosen: TrainConfig | None = None) -> Plan:
    chosen = chosen or settings()
    parts = build_parts(chosen)
    return Plan(
        clusterer=parts.clusterer,
        backbone=parts.backbone,
        module=parts.module,
        train_view=parts.train_view,
        schedule=chosen.reassign,
        optimizer=chosen.optimizer,
        evaluation=chosen.evaluation,
        device=parts.device,
        precision=parts.precision.trainer,
        batch_size=chosen.reading.batch_size,
        max_epochs=chosen.trainer["max_epochs"],
    )


def sizes(**changes: Any) -> Sizes:
    plain = Sizes(
        n=100_000,
        feature_dim=4096,
        dim=256,
        k=1000,
        n_fit=50_000,
        pca_bytes=24 * 4096**2,
        n_recomputed=20_000,
        n_iterated=100_000,
        bytes_per_image=64,
        distances=1000.0 * 100_000 * 21,
        n_reassignments=4,
        n_passes=4,
        n_epochs=3,
        steps_per_epoch=200,
        n_measured=(50_000, 10_000),
        n_baselines=60_000,
        n_figures=2,
        n_seen=60_000,
        n_compared=0,
        n_sharing=1,
        stored_bytes=100_000 * 256 * 4,
        disk_bytes=1e9,
        buffer_bytes=500 * 2**20,
        bank_bytes=0,
        other_distances=0.0,
    )
    return dataclasses.replace(plain, **changes)


def test_seconds_by_hand() -> None:
    spent = estimate.estimate_seconds(sizes(), COSTS)
    assert spent.features == pytest.approx(120)  # 100,000 images, 20,000 of them twice
    assert spent.reduction == pytest.approx(10 + 3 + 10)
    assert spent.clustering == pytest.approx(2.1e9 * 256 * 1e-9)
    assert spent.epoch == pytest.approx(100)
    assert spent.baselines == pytest.approx(120)
    assert spent.figures == pytest.approx(2 * (60 + 60_000 * 0.003))
    assert spent.total == pytest.approx(4 * (120 + 23 + 537.6) + 3 * 100 + 120 + 480)
    with_files = estimate.estimate_seconds(sizes(n_compared=1000), COSTS)
    assert with_files.files == pytest.approx(3 * 4) and with_files.total == pytest.approx(spent.total + 12)
    costs_of_other = dataclasses.replace(COSTS, other_s=30.0, other_image_s=0.003, other_dim=64)
    with_other = estimate.estimate_seconds(sizes(other_distances=1e10), costs_of_other)
    assert with_other.other == pytest.approx(30 + 300 + 640)
    assert with_other.total == pytest.approx(spent.total + 970)


def test_other_rows_are_clustered_once_and_by_one_graph() -> None:
    chosen = settings("other_rows=coates", "other_rows.n_filters=8", "other_rows.reduction.dim=8")
    beside = ["other_rows=coates", "other_rows.reassignments=0", "other_rows.n_beside=3", "other_rows.n_neighbours=5"]
    by_graph = settings(*beside, "other_rows.n_filters=8", "other_rows.reduction.dim=8")
    first, heads = (plan_of(one, build_parts(one)) for one in (chosen, by_graph))
    k_means = 5 * (200 * 20 + 200)
    assert (first.n_other, heads.n_other) == (1, 3)
    assert sizes_of(first).other_distances == k_means
    assert sizes_of(heads).other_distances == 200 * (200 + 1.3 * 148**2) + 3 * k_means
    assert plan_of(chosen, build_parts(chosen), epochs_done=1).n_other == 0  # a checkpoint has their labels
    measured = costs.measure(heads)
    assert measured.other_s > 0 and measured.other_image_s > 0 and measured.other_dim == 8


def test_memory_by_hand() -> None:
    needed = estimate.memory_by_phase(sizes(), COSTS, on_gpu=False)
    assert needed["extraction"] == 500 * 2**20 + 102_400_000 + 24 * 4096**2 + 10**8
    assert needed["evaluation"] == 4 * 1000 * 110_000 + 10**8
    wide = dataclasses.replace(COSTS, baseline_dim=2000)  # rows of pixels and patches, then parts of them
    needed_by_rows = estimate.memory_by_phase(sizes(), wide, on_gpu=False)["evaluation"]
    assert needed_by_rows == 4 * 2000 * (3 * 50_000 + 2 * 10_000) + 10**8
    sampled = estimate.memory_by_phase(sizes(n_iterated=30_000), COSTS, on_gpu=False)
    assert sampled["clustering"] - needed["clustering"] == 30_000 * 256 * 4  # the copy of the sample
    on_disk = estimate.memory_by_phase(sizes(stored_bytes=0), COSTS, on_gpu=False)
    assert needed["clustering"] - on_disk["clustering"] == 102_400_000
    on_gpu = estimate.memory_by_phase(sizes(), COSTS, on_gpu=True)
    assert needed["training"] - on_gpu["training"] == 2 * 10**8


def test_distances_are_counted_as_they_are_taken() -> None:
    assert KMeans(k=10, n_iter=20).distances(1000) == 10 * (1000 * 20 + 1000)
    sampled = KMeans(k=10, n_iter=20, n_redo=3, max_points_per_centroid=7)
    assert sampled.distances(1000) == 3 * 10 * (70 * 20 + 1000) and sampled.n_iterated(1000) == 70
    assert sampled.n_iterated(50) == 50
    assert PIC().distances(1000) == 10**6


@pytest.mark.parametrize(
    ("needed", "told"),
    [
        ({"clustering": 9e9, "training": 1e9}, r"clustering needs about 9.0 GB.*8.0 GB are free; set extraction.store"),
        ({"extraction": 9e9}, r"extraction needs about 9.0 GB .*extraction.buffer_mb=512 or extraction.batch_size"),
        ({"training": 9e9}, r"training needs about 9.0 GB .*; lower reading.batch_size=64"),
        ({"evaluation": 9e9}, r"evaluation needs .*; lower evaluation.max_images=50000, or set evaluation.enabled=fal"),
    ],
)
def test_too_little_memory_is_told_with_the_keys_to_turn(needed: dict[str, float], told: str) -> None:
    ways_out = estimate.ways_out(plan())
    with pytest.raises(ValueError, match=told):
        estimate.check_room(sizes(), needed, ways_out, free=8 * 10**9, disk=10**12, folder=Path("runs"))
    estimate.check_room(sizes(), needed, ways_out, free=9 * 10**9, disk=10**12, folder=Path("runs"))


@pytest.mark.parametrize(
    ("overrides", "free", "told"),
    [
        (["init.n_patches=200000"], 3e8, r"init=kmeans_patches needs about 0.4 GB of memory.*; lower init.n_patches"),
        (
            ["arch.n_filters=1000", "init.n_patches=1000", "extraction.buffer_mb=100"],
            3e8,
            r"extraction needs about 0.4 GB .* 0.4 GB of it are for the PCA of 4,000 features: set reduction.dim=null,",
        ),
    ],
)
def test_too_little_memory_is_told_before_filters_are_learned(
    overrides: list[str], free: float, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def learn(*_: Any, **__: Any) -> None:
        raise AssertionError("learns")

    monkeypatch.setattr(patch_filters, "learn_from_patches", learn)
    coates = settings("arch=coates", "arch.n_filters=6", "init=kmeans_patches", "trainer.max_epochs=0", *overrides)
    with pytest.raises(AssertionError, match="learns"):
        train(coates, tmp_path / "enough")
    monkeypatch.setattr(estimate, "free_memory", lambda: int(free))
    with pytest.raises(ValueError, match=told):
        train(coates, tmp_path / "too_little")


@pytest.mark.parametrize(("device", "n"), [("cuda", 4), ("cpu", 1)])
def test_processes_with_gpus_of_their_own_share_the_work_on_all_nodes(device: str, n: int) -> None:
    chosen = settings("trainer.devices=[0,2]", "+trainer.num_nodes=2", "trainer.accelerator=cpu")
    parts = dataclasses.replace(build_parts(chosen), device=torch.device(device))
    assert plan_of(chosen, parts).n_sharing == n


def test_memory_of_other_rows_by_hand() -> None:
    one_layer = settings("other_rows=coates", "other_rows.n_filters=100", "other_rows.n_patches=2000")
    needs = sizes_of(plan_of(one_layer, build_parts(one_layer)))
    rows, reduced = 200 * 400 * 4, 200 * 64 * 4
    assert needs.other_bytes == reduced + rows + 24 * 400**2
    long = settings("other_rows=coates", "other_rows.n_filters=8", "other_rows.reduction.dim=8")
    assert sizes_of(plan_of(long, build_parts(long))).other_bytes == 5 * 50_000 * 36 * 4  # to learn from patches
    both = settings("other_rows=patches_and_pixels", "other_rows.n_filters=400", "other_rows.n_patches=2000")
    needs = sizes_of(plan_of(both, build_parts(both)))
    assert needs.other_bytes == 200 * (2 * 1600 + 784) * 4 + 24 * 1600**2
    assert sizes_of(plan_of(settings(), build_parts(settings()))).other_bytes == 0
    needed = estimate.memory_by_phase(needs, None, on_gpu=False)
    assert needed["other_rows"] == needs.other_bytes + estimate.SCRATCH


@pytest.mark.parametrize("asked", [[], ["estimate=true"]])
def test_too_little_memory_for_other_rows_is_told_before_they_are_learned(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def learn(*_: Any, **__: Any) -> None:
        raise AssertionError("learns")

    monkeypatch.setattr(patch_filters, "learn_from_patches", learn)
    rows = settings("other_rows=coates", "other_rows.n_filters=1600", "evaluation.enabled=false", *asked)
    with pytest.raises(AssertionError, match="learns"):
        train(rows, tmp_path / "enough")
    monkeypatch.setattr(estimate, "free_memory", lambda: int(8e8))
    with pytest.raises(ValueError, match=r"^other_rows needs about 1.2 GB .*6,400 numbers: lower .*other_rows.n_filt"):
        train(rows, tmp_path / "too_little")


def test_a_time_is_told_to_two_digits() -> None:
    texts = [estimate.clock(seconds) for seconds in (0.04, 9.6, 12.3, 95, 96, 222, 3000, 5800, 36_000)]
    assert texts == ["0.0 s", "9.6 s", "12 s", "95 s", "1.6 min", "3.7 min", "50 min", "1.6 h", "10 h"]


def test_too_little_disk_is_told() -> None:
    with pytest.raises(ValueError, match=r"need about 1.0 GB, 0.5 GB are free in runs; .*another output_dir"):
        estimate.check_room(sizes(), {"training": 1.0}, {}, free=10**9, disk=5 * 10**8, folder=Path("runs"))


def test_a_subsample_is_advised_where_it_saves_much() -> None:
    large = sizes(n=10**6, n_iterated=10**6, distances=1000.0 * 10**6 * 21)
    spent = estimate.estimate_seconds(large, COSTS)
    advice = estimate._advice(large, spent, KMeans())
    assert len(advice) == 1 and "256 would iterate on 256,000 of the 1,000,000 images" in advice[0]
    share = (256_000 * 20 + 10**6) / (10**6 * 21)
    assert f"clustering {estimate.clock(share * spent.clustering)} in place" in advice[0]
    fast = dataclasses.replace(COSTS, distance_s=1e-12)
    assert not estimate._advice(large, estimate.estimate_seconds(large, fast), KMeans())
    assert not estimate._advice(sizes(), estimate.estimate_seconds(sizes(), COSTS), KMeans())  # 256,000 are all


def test_a_run_s_numbers_are_those_of_its_settings(tmp_path: Path) -> None:
    chosen = settings("reassign=every_n_epochs", "reassign.every=2", "extraction.buffer_mb=0", "reading.batch_size=64")
    planned = dataclasses.replace(plan(chosen), n_test=200)
    found = sizes_of(planned)
    assert (found.n, found.feature_dim, found.dim, found.k) == (200, 84, 8, 5)
    assert (found.n_fit, found.n_recomputed, found.buffer_bytes) == (200, 200, 0)
    assert found.n_reassignments == 2 + 2 + 1  # epochs 0 and 2, the untrained network twice, the end
    assert (found.n_epochs, found.steps_per_epoch, found.n_measured) == (3, 4, (200, 200))
    assert found.stored_bytes == 200 * 8 * 4
    later = sizes_of(dataclasses.replace(planned, epochs_done=2))
    assert (later.n_epochs, later.n_reassignments) == (1, 2)
    assert found.n_baselines == 400
    silent = dataclasses.replace(chosen.evaluation, baselines=False)
    assert sizes_of(dataclasses.replace(planned, evaluation=silent)).n_baselines == 0


@pytest.mark.parametrize(
    ("overrides", "dim"),
    [
        ([], 8),
        (["rows=embedding", "embedding=mlp", "embedding.dim=16", "reduction=l2", "reduction.dim=null"], 16),
        (["method=sela", "clustering.k=5", "clustering.n_labelings=3"], 15),
    ],
)
def test_the_clustered_rows_are_those_of_the_method(overrides: list[str], dim: int) -> None:
    planned = plan(settings(*overrides))
    assert planned.clusterer.row_dim(planned.backbone) == sizes_of(planned).dim == dim


def test_a_reduction_to_more_than_the_embedding_has_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"reduction.dim=8 is more than the 4 dimensions of the embedding.*lower it"):
        plan(settings("rows=embedding", "embedding=mlp", "embedding.dim=4"))


def test_co_teaching_trains_and_stores_two_networks_of_other_starts() -> None:
    chosen = settings("targets=co_teaching")
    parts = build_parts(chosen)
    module = parts.module(parts.backbone)
    assert parts.n_networks == 2 and module.peer is not None
    pairs = list(zip(module.backbone.parameters(), module.peer.backbone.parameters(), strict=True))
    assert not any(torch.equal(one, two) for one, two in pairs if one.ndim > 1)
    optimizer = module.build_optimizer(fused=False)  # of the timed steps too
    n_trained = sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])
    n_backbone, n_head = sum(one.numel() for one, _ in pairs), module.head.linear.weight.numel()
    assert n_trained == 2 * (n_backbone + n_head + 5)
    one, two = sizes_of(plan(chosen)), sizes_of(dataclasses.replace(plan(chosen), n_networks=2))
    copies = [1 + chosen.optimizer.states(of_head=of_head) for of_head in (False, True)]
    buffers = sum(buffer.nbytes for buffer in parts.backbone.buffers())  # of BatchNorm
    assert two.disk_bytes - one.disk_bytes == 3 * (4 * (copies[0] * n_backbone + copies[1] * n_head) + buffers)


def test_each_labeling_and_the_embedding_count_on_disk() -> None:
    def disk(*overrides: str) -> float:
        chosen = settings(*overrides)
        return sizes_of(plan_of(chosen, build_parts(chosen))).disk_bytes

    lists = disk("clustering.k=[5,90]") - disk("clustering.k=[5,5]")
    # 85 more rows of the head (84 features, no momentum) and of centroids (8 numbers), in three checkpoints; 4 files
    assert lists - 3 * 4 * 85 * (84 + 8) == pytest.approx(200 * (math.log2(90) - math.log2(5)) / 8 * 4)
    mlp = disk("embedding=mlp", "embedding.hidden=10", "embedding.dim=6") - disk()
    weights = 84 * 10 + 10 + 2 * 10 + 10 * 6 + 6
    assert mlp == 3 * 4 * (2 * weights + 5 * (6 - 84))  # with momentum; a head of 6 columns in place of 84


def test_sela_is_no_k_means_of_as_many_numbers_as_scores() -> None:
    chosen = settings("method=sela", "clustering.k=50")
    few = sizes_of(plan(chosen))
    assert few.dim == 500 and few.distances * few.dim == 10 * 300 * 200 * 500


def test_soft_labels_take_memory_and_disk() -> None:
    hard = plan()
    soft = dataclasses.replace(hard, n_soft=5)
    one, two = sizes_of(hard), sizes_of(soft)
    assert two.soft_bytes == 200 * 5 * 8 and two.disk_bytes - one.disk_bytes == 3 * two.soft_bytes
    needed = [estimate.memory_by_phase(s, None, on_gpu=False)["training"] for s in (one, two)]
    assert needed[1] - needed[0] == 3 * two.soft_bytes


def test_a_bank_takes_memory_and_disk_and_spares_passes() -> None:
    with_bank = dataclasses.replace(plan(), bank_bytes=MemoryBank.n_bytes(200, 2, 16))
    assert with_bank.bank_bytes == 200 * (2 * 16 * 2 + 8)
    ours, plain = sizes_of(with_bank), sizes_of(plan())
    assert ours.disk_bytes - plain.disk_bytes == 3 * with_bank.bank_bytes
    assert (plain.n_passes, ours.n_passes) == (plain.n_reassignments, 2 + 1 + 1)  # untrained, end, first fill
    needed, without = (estimate.memory_by_phase(s, None, on_gpu=False) for s in (ours, plain))
    assert all(needed[phase] - without[phase] == with_bank.bank_bytes for phase in needed)


def test_targets_without_clusters_cluster_for_the_figures_only() -> None:
    assert sizes_of(dataclasses.replace(plan(), reassigns=False)).n_reassignments == 2 + 1


def test_only_an_estimate_leaves_no_run_and_a_run_is_the_same_after_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is measured changes neither the weights nor the random numbers that a run draws."""
    assert train(settings("estimate=true"), tmp_path / "a") == {}
    assert not (tmp_path / "a").exists()
    told = capsys.readouterr().out
    assert "6 reassignments and 3 epochs, pixels and patches (" in told
    assert "200 x 8 reduced features in float32" in told
    plain = train(settings(), tmp_path / "b")
    assert "estimate   " not in capsys.readouterr().out  # not worth its seconds
    monkeypatch.setattr(estimate, "MEASURED_FROM", 100)
    measured = train(settings(), tmp_path / "c")
    assert "estimate   extraction" in capsys.readouterr().out
    assert measured["trained"] == plain["trained"] and measured["untrained"] == plain["untrained"]
    clusters = [(tmp_path / name / "clusters.csv").read_bytes() for name in "bc"]
    assert clusters[0] == clusters[1]


def test_measuring_leaves_the_network_and_the_random_state() -> None:
    planned = plan()
    before = {name: value.clone() for name, value in planned.backbone.state_dict().items()}
    state, mode = torch.random.get_rng_state(), planned.backbone.training
    found = costs.measure(planned)
    assert all(torch.equal(value, before[name]) for name, value in planned.backbone.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state) and planned.backbone.training is mode
    assert min(found.image_s, found.moments_s, found.fit_s, found.apply_s, found.distance_s, found.step_s) > 0
    assert found.probed_dim == 1600  # 64 channels of 5 x 5: what README says that k-NN reads


def test_what_the_network_does_not_change_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("_baselines", "_other_rows", "_small_pictures"):
        monkeypatch.setattr(costs, part, lambda *_: pytest.fail("is timed again"))
    known = dataclasses.replace(COSTS, other_s=7.0)
    found = costs.measure(plan(), known=known)
    for name in ("baseline_s", "baseline_dim", "small_s", "other_s", "other_image_s", "other_dim"):
        assert getattr(found, name) == getattr(known, name)
    assert found.image_s != known.image_s and found.figures_s > 0


def test_some_small_pictures_tell_what_all_take(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(costs, "small_pictures", lambda images, among, **_: (made.append(len(among)), time.sleep(0.3)))
    found = costs.measure(dataclasses.replace(plan(settings("data.limit=400")), compares_pictures=True))
    assert made == [256] and 0.3 / 256 <= found.small_s < 0.9 / 256, "with room for a busy machine"


def test_the_figures_of_a_run_are_counted() -> None:
    """Arrays have labels; a network that is not trained is measured once, and so is one whose start is not."""
    assert (sizes_of(plan()).n_figures, sizes_of(plan()).n_seen) == (2, sum(sizes_of(plan()).n_measured))
    for word in ("trainer.max_epochs=0", "evaluation.untrained=false"):
        assert sizes_of(plan(settings(word))).n_figures == 1
    assert sizes_of(plan(settings("evaluation.enabled=false"))).n_figures == 0


def test_the_one_batch_of_a_small_set_is_timed_too() -> None:
    planned = plan(settings("data.limit=40"))
    planned.backbone.register_forward_pre_hook(lambda module, images: time.sleep(0.04))
    assert 0.001 < costs.measure(planned).image_s < 0.01, "0.04 s for a batch of 40"


def test_a_stored_type_is_kept_by_a_resumed_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Less memory on the day of the resume must not change the numbers."""
    chosen = settings("extraction.store=disk", "extraction.store_dtype=float16", "trainer.max_epochs=1")
    train(chosen, tmp_path)
    assert "200 x 8 reduced features in float16, 0 MB, in a file mapped from" in capsys.readouterr().out
    auto = tmp_path / "auto"
    train(settings("trainer.max_epochs=1"), auto)
    assert read_stored_config(auto / "config.yaml").extraction.store_dtype == "float32"
    cfg = compose("train", [f"resume={auto}", "extraction.store=disk"])
    again = train_config(resumed_config(cfg, [f"resume={auto}", "extraction.store=disk"]))
    storage = again.extraction.storage(10, 2, unit_length=True, folder=tmp_path)
    assert storage == Storage(folder=tmp_path)
