"""Initial alignment: the figures of each network against plain twins, and that finished seeds are kept."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score, silhouette_score
from support.evaluated import Said, context, features, lenet, pictures

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.moments import Moments
from deepcluster.clustering.reduction import Reduction
from deepcluster.evaluation.clusters import alignment_table
from deepcluster.evaluation.clusters.initial_alignment import InitialAlignment
from deepcluster.evaluation.clusters.label_free import predictability, reduce_pixels, silhouette
from deepcluster.evaluation.clusters.untrained_clusters import measure_untrained_clusters
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.models.backbone import Backbone
from deepcluster.system.seeding import mix

IMAGES = pictures(150, 0)
SETTINGS: dict[str, Any] = {"k": [3, 6], "dim": [None, 5], "n_seeds": 3}


class Drawn:
    """Draws networks and remembers the seeds."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seeds: list[int] = []
        self.stop_at = stop_at

    def __call__(self, seed: int) -> Backbone:
        if seed == self.stop_at:
            raise KeyboardInterrupt
        self.seeds.append(seed)
        return lenet(seed)


def numbers(settings: InitialAlignment, given: EvaluationContext) -> dict[str, float]:
    return measure_untrained_clusters(settings, given)[1]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "initial_alignment.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_is_what_a_plain_twin_of_its_network_gives(tmp_path: Path) -> None:
    draw = Drawn()
    found = numbers(InitialAlignment(**SETTINGS, silhouette_images=1000), context(tmp_path, IMAGES, draw=draw, seed=7))
    assert draw.seeds == [7, 8, 9]  # one network a seed, for all K and dimensions
    table = rows(tmp_path)
    assert len(table) == 12
    nmis: dict[str, list[float]] = {}
    for row in table:
        seed, k = int(row["seed"]), int(row["k"])
        x = features(context(tmp_path, IMAGES), IMAGES, backbone=lenet(seed))
        moments = Moments(84)
        moments.update(x)
        dim = int(row["dim"]) if row["dim"] else None
        reduced = Reduction(dim=dim, fit_images=None).fit(moments).apply(x)
        clusters = KMeans(k=k).fit(reduced, seed=mix(seed, "untrained", "k-means")).labels
        assert float(row["nmi"]) == pytest.approx(normalized_mutual_info_score(IMAGES.labels, clusters), abs=1e-9)
        assert float(row["silhouette"]) == pytest.approx(silhouette_score(reduced, clusters), abs=1e-5)
        nmis.setdefault(alignment_table.pair_key(k, dim), []).append(float(row["nmi"]))
    for name, values in nmis.items():
        assert found[f"nmi_median_{name}"] == pytest.approx(float(np.median(values)))
        assert found[f"nmi_q1_{name}"] == pytest.approx(float(np.quantile(values, 0.25)))
        assert 0 < found[f"agreement_{name}"] < 1
    best = max(nmis, key=lambda name: np.median(nmis[name]))
    assert best.startswith(f"k{found['best_k']}_") and (found["best_dim"] == 0) == best.endswith("no_pca")
    assert json.dumps(found)


def test_a_second_call_goes_on_where_the_first_was_stopped(tmp_path: Path) -> None:
    alignment = InitialAlignment(**SETTINGS)
    whole = numbers(alignment, context(tmp_path / "whole", IMAGES, draw=Drawn()))
    with pytest.raises(KeyboardInterrupt):
        numbers(alignment, context(tmp_path / "cut", IMAGES, draw=Drawn(stop_at=3)))
    second = Drawn()
    assert numbers(alignment, context(tmp_path / "cut", IMAGES, draw=second)) == whole
    assert second.seeds == [3]
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    fourth = Drawn()
    numbers(InitialAlignment(**{**SETTINGS, "n_seeds": 4}), context(tmp_path / "cut", IMAGES, draw=fourth))
    assert fourth.seeds == [4] and rows(tmp_path / "cut")[:12] == rows(tmp_path / "whole")


def test_seeds_of_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    numbers(InitialAlignment(k=[3], n_seeds=1), context(tmp_path, IMAGES, draw=Drawn()))
    with pytest.raises(ValueError, match=r"its evaluation.k is \[3\], now it is \[4\]; choose another output_dir"):
        numbers(InitialAlignment(k=[4], l2=False, n_seeds=1), context(tmp_path, IMAGES, draw=Drawn()))
    other = dataclasses.replace(IMAGES, samples=[f"other/{i}" for i in range(150)])
    with pytest.raises(ValueError, match=r"its images is .* now it is"):
        numbers(InitialAlignment(k=[3], n_seeds=1), context(tmp_path, other, draw=Drawn()))


def test_k_means_may_begin_by_kmeans_plus_plus_and_older_folders_are_those_of_images(tmp_path: Path) -> None:
    start = {"k": [6], "n_seeds": 1, "label_free": False}
    found = numbers(InitialAlignment(**start, start="kmeans++"), context(tmp_path / "far", IMAGES, draw=Drawn()))
    alike = numbers(InitialAlignment(**start), context(tmp_path / "alike", IMAGES, draw=Drawn()))
    assert found["nmi_median_k6_no_pca"] != alike["nmi_median_k6_no_pca"]
    for name, is_told in (("far", True), ("alike", False)):
        facts = torch.load(tmp_path / name / "seeds" / "seed_1.state", weights_only=True)["facts"]
        assert ("evaluation.start" in facts) == is_told


def test_the_last_stage_is_another_layer_and_l2_another_space(tmp_path: Path) -> None:
    found = []
    for number, changed in enumerate([{}, {"layer": "last_stage"}, {"l2": False}, {"max_images": 100}]):
        settings: dict[str, Any] = {"k": [4], "n_seeds": 1, "label_free": False, **changed}
        found.append(numbers(InitialAlignment(**settings), context(tmp_path / str(number), IMAGES, draw=Drawn())))
    assert len({one["nmi_median_k4_no_pca"] for one in found}) == 4
    assert found[3]["n_images"] == 100 and not any("silhouette" in name for name in found[0])


def test_without_labels_only_what_needs_none_is_told(tmp_path: Path) -> None:
    for labels in (None, torch.full((150,), -1)):
        folder = tmp_path / str(labels is None)
        bare = context(folder, dataclasses.replace(IMAGES, labels=labels), draw=Drawn())
        found = numbers(InitialAlignment(**SETTINGS), bare)
        assert not any(name.startswith(("nmi", "spearman", "best")) for name in found)
        assert found["agreement_k3_no_pca"] > 0 and found["predictability_k3_pca5"] > 0
        assert isinstance(bare.progress, Said) and "no labels of at least two classes" in bare.progress.lines[0]


def test_unlabelled_images_are_clustered_but_not_compared(tmp_path: Path) -> None:
    assert IMAGES.labels is not None
    some = torch.where(torch.arange(150) < 100, IMAGES.labels, -1)
    found = numbers(
        InitialAlignment(k=[4], n_seeds=1), context(tmp_path, dataclasses.replace(IMAGES, labels=some), draw=Drawn())
    )
    clusters = torch.load(tmp_path / "seeds" / "seed_1.state", weights_only=True)["content"]["clusters"][0]
    assert len(clusters) == 150
    expected = normalized_mutual_info_score(some[:100], clusters[:100])
    assert found["nmi_median_k4_no_pca"] == pytest.approx(expected)


def test_clusters_of_pixels_are_predictable_and_random_ones_are_not() -> None:
    pixels = IMAGES.images.float().flatten(1) / 255
    sample = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    reduced = reduce_pixels(sample, pixels[sample], 20)
    assert torch.allclose(reduced.train_x.var(0), torch.ones(20), atol=0.02)  # fitted on the training half alone
    assert not torch.allclose(reduced.test_x.var(0), torch.ones(20), atol=0.02)
    random = torch.randint(3, (150,), generator=torch.Generator().manual_seed(1))
    clusters = torch.where(torch.arange(150) % 5 == 0, random, KMeans(k=3).fit(pixels, seed=0).labels)
    accuracy, gain = predictability(reduced, clusters, seed=0)
    theirs = LogisticRegression(C=1.0).fit(reduced.train_x, clusters[sample[:75]])
    assert accuracy == pytest.approx(theirs.score(reduced.test_x, clusters[sample[75:]]), abs=0.1)
    assert accuracy > 0.7 and 0.5 < gain < accuracy
    _, gain = predictability(reduced, random, seed=0)
    assert abs(gain) < 0.25
    constant = torch.zeros(150, dtype=torch.int64)
    assert predictability(reduced, constant, seed=0) == (1.0, 0.0)


def test_gain_by_hand() -> None:
    # 4 of 8 tested are of the commonest cluster; a predictor that is right for all gains all there is
    x = torch.tensor([[-1.0], [1.0]] * 8)
    clusters = (x[:, 0] > 0).long()
    reduced = reduce_pixels(torch.arange(16), x, 1)
    assert predictability(reduced, clusters, seed=0) == (1.0, 1.0)
    flipped = torch.cat([clusters[:8], 1 - clusters[8:]])  # always wrong: (0 - 1/2) / (1 - 1/2)
    assert predictability(reduced, flipped, seed=0) == (0.0, -1.0)


def test_a_silhouette_of_one_cluster_is_none() -> None:
    assert silhouette(np.zeros((4, 4)), torch.zeros(4)) is None
    assert silhouette(np.ones((4, 4)), torch.arange(4)) is None


def test_rank_correlations_need_three_settings_and_no_gap() -> None:
    table = [
        {"k": k, "dim": None, "nmi_median": nmi, "agreement": a, "silhouette": None, "predictability": 0.5}
        for k, nmi, a in [(5, 0.3, 0.1), (10, 0.5, 0.2), (20, 0.4, 0.4), (40, 0.1, 0.3)]
    ]
    for line in table:
        line["predictability_gain"] = -line["nmi_median"]
    found = alignment_table.rank_correlations(table)
    assert found.keys() == {"agreement", "predictability_gain"}  # a constant ranks nothing
    expected = spearmanr([0.1, 0.2, 0.4, 0.3], [0.3, 0.5, 0.4, 0.1]).statistic
    assert found["agreement"] == pytest.approx(expected) and found["predictability_gain"] == pytest.approx(-1)
    assert alignment_table.rank_correlations(table[:2]) == {}


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out ckpt"):
        numbers(InitialAlignment(), context(tmp_path, IMAGES))
    with pytest.raises(ValueError, match=r"evaluation.k=151 needs .* there are 150"):
        numbers(InitialAlignment(k=[151]), context(tmp_path, IMAGES, draw=Drawn()))
    with pytest.raises(ValueError, match=r"evaluation.dim=85 is more than the 84 features of 150 images; lower it"):
        numbers(InitialAlignment(dim=[85]), context(tmp_path, IMAGES, draw=Drawn()))
    assert not (tmp_path / "seeds").exists()
    for wrong in ({"k": []}, {"k": [1]}, {"k": [5, 5]}, {"dim": []}, {"dim": [0]}, {"n_seeds": 0}, {"layer": "conv1"}):
        with pytest.raises(ValueError, match=rf"evaluation.{next(iter(wrong))}"):
            InitialAlignment(**wrong)  # type: ignore[arg-type]
