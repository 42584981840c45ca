"""Linear SVMs on VOC: the cost is chosen without the test images, few shots are few, a call goes on."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC
from support.voc_folder import red_and_train

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.voc07 import linear_svm
from deepcluster.evaluation.voc07.frozen_svm import Voc07Svm
from deepcluster.evaluation.voc07.linear_svm import svm_scores, unit_rows
from deepcluster.evaluation.voc07.settings import LinearSvm
from deepcluster.evaluation.voc07.svm_tasks import draw_rows
from deepcluster.features.settings import Extraction
from deepcluster.models.lenet import LeNet5
from deepcluster.weights.recognise import Weights

CARD = {"arch": {}, "in_channels": 3, "image_size": 16, "resize": None, "mean": [0.5] * 3, "std": [0.25] * 3}


class Silent:
    def __init__(self):
        self.lines = []

    @contextmanager
    def bar(self, title, total, unit):
        yield lambda n: None

    def say(self, line):
        self.lines.append(line)


def context(folder) -> EvaluationContext:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    return EvaluationContext(
        backbone=LeNet5(3, 16).eval(),
        stored=Weights(path=folder / "x.ckpt", format="test", tensors={}, card=CARD),
        data_settings=None,
        extraction=Extraction(batch_size=7),
        folder=folder,
        seed=1,
        progress=Silent(),
        device=torch.device("cpu"),
    )


def overlapping(n: int, seed: int):
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.3
    x = generator.normal(size=(n, 30)) + 0.4 * positive[:, None]
    return unit_rows(torch.from_numpy(x)), positive


def test_one_cost_is_scikit_learns_svm_with_positives_of_weight_two():
    (x, positive), (test_x, _) = overlapping(90, 0), overlapping(40, 1)
    found = svm_scores(x, positive, test_x, LinearSvm(costs=[3.0]), seed=1)
    twin = LinearSVC(C=3.0, class_weight={0: 1, 1: 2}, max_iter=100_000, tol=1e-8, dual=True, random_state=0)
    expected = twin.fit(x, positive.astype(int)).decision_function(test_x)
    assert found.cost == 3.0 and found.converged and np.abs(found.scores - expected).max() < 0.02
    assert np.allclose(np.linalg.norm(x, axis=1), 1)


@pytest.mark.filterwarnings("ignore:Liblinear failed")
def test_the_cost_is_the_best_on_held_out_folds(monkeypatch):
    """A C that learns the training images by heart loses; the choice never sees what is tested."""
    x, positive = overlapping(90, 0)
    fitted = []
    plain = linear_svm._fit

    def watched(rows, *arguments):
        fitted.append(len(rows))
        return plain(rows, *arguments)

    monkeypatch.setattr(linear_svm, "_fit", watched)
    found = svm_scores(x, positive, x[:1], LinearSvm(costs=[1e3, 0.1], max_iter=500), seed=1)
    assert fitted == [60] * 6 + [90]
    held_out = {}
    for cost in (0.1, 1e3):  # the same by other folds
        model = LinearSVC(C=cost, class_weight={0: 1, 1: 2}, dual=True, max_iter=500, random_state=0)
        right = [
            np.mean(model.fit(np.delete(x, rows, 0), np.delete(positive, rows)).predict(x[rows]) == positive[rows])
            for rows in np.array_split(np.random.default_rng(0).permutation(90), 5)
        ]
        held_out[cost] = np.mean(right)
    assert found.cost == max(held_out, key=held_out.get) == 0.1


def test_with_fewer_positives_than_folds_there_is_nothing_to_choose_by():
    x, _ = overlapping(20, 0)
    positive = np.arange(20) < 2
    assert svm_scores(x, positive, x, LinearSvm(few_cost=7.0), seed=1).cost == 7.0
    with pytest.raises(ValueError, match="there are 0 of 20"):
        svm_scores(x, positive & False, x, LinearSvm(), seed=1)


def test_few_shots_are_as_many_positives_and_so_many_times_more_negatives():
    labels = torch.zeros(200, 5, dtype=torch.int8)
    labels[:20, 2] = 1
    labels[20:40, 2] = -1  # difficult, or not in the list
    rows = draw_rows(labels, 2, 3, seed=1)
    assert (labels[rows, 2] == 1).sum() == 3 and (labels[rows, 2] == 0).sum() == 4 * 3 and len(rows) == 15
    assert len(rows.unique()) == 15 and not torch.equal(rows, draw_rows(labels, 2, 3, seed=2))
    assert len(draw_rows(labels, 2, 20, seed=1)) == 20 + 80
    assert draw_rows(labels, 2, None, seed=1).tolist() == [*range(20), *range(40, 200)]


def test_red_is_found_and_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    red_and_train(tmp_path)
    asked = Voc07Svm(root=str(tmp_path), shots=[2, 4, 96, None], n_samples=3, num_workers=0)
    first = context(tmp_path / "out")
    results = asked.run(first)
    lines = (tmp_path / "out/voc07_svm.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * (3 + 3 + 1) and lines[0].startswith("shots,sample,class,cost,ap_11_point")
    red = [float(line.split(",")[5]) for line in lines if line.startswith("all,0,red")]
    assert red[0] > 0.95
    assert any("evaluation.shots 96 left out" in line for line in first.progress.lines)
    areas = [float(line.split(",")[5]) for line in lines if line.startswith("4,")]
    means = [(areas[i] + areas[i + 1]) / 2 for i in (0, 2, 4)]
    assert results["map_area_shots_4_mean"] == pytest.approx(np.mean(means), abs=1e-6)
    assert results["map_area_shots_4_std"] == pytest.approx(np.std(means, ddof=1), abs=1e-6)
    assert {"map_11_point", "map_area", "map_step", "map_official"} <= results.keys()
    once = Voc07Svm(root=str(tmp_path), shots=[4], n_samples=1, num_workers=0).run(first)
    assert "map_area_shots_4_mean" in once and "map_area_shots_4_std" not in once  # one draw tells no deviation

    state = tmp_path / "out/voc07_svm.state"
    stored = torch.load(state, weights_only=True)
    stored["content"] = {key: value for key, value in stored["content"].items() if not key.startswith("4/")}
    torch.save(stored, state)  # as if stopped before
    learned = []
    monkeypatch.setattr(
        "deepcluster.evaluation.voc07.svm_tasks.svm_scores",
        lambda *arguments, **keys: learned.append(1) or svm_scores(*arguments, **keys),
    )
    assert asked.run(context(tmp_path / "out")) == results and len(learned) == 6
    asked.svm.few_cost = 3.0
    with pytest.raises(ValueError, match=r"its evaluation\.svm\.few_cost is 1\.0, now it is 3\.0"):
        asked.run(context(tmp_path / "out"))


def test_stages_are_read_and_unknown_ones_refused(tmp_path):
    red_and_train(tmp_path)
    found = {}
    for stage in (None, "conv1", "conv2", "features"):
        asked = Voc07Svm(root=str(tmp_path), shots=[None], stage=stage, num_workers=0)
        at = context(tmp_path / f"out_{stage}")
        found[stage] = asked.run(at)["map_step"]
        widths = {None: 16 * 1 * 1, "conv1": 6 * 12 * 12, "conv2": 16 * 2 * 2, "features": 84}
        assert any(line.startswith(f"{widths[stage]:,} features") for line in at.progress.lines)
    assert len(set(found.values())) > 1
    with pytest.raises(ValueError, match=r"no stage 'conv9'; it has conv1, conv2"):
        Voc07Svm(root=str(tmp_path), stage="conv9").run(context(tmp_path / "out"))


def test_classes_that_no_line_can_part_are_refused_before_features_are_computed(tmp_path):
    lists = red_and_train(tmp_path) / "ImageSets/Main"
    for code, message in (
        ("-1", "no image of train shows the class cat"),
        (" 1", "no image of train is without the class cat"),
    ):
        for split, first in (("train", 0), ("val", 1000)):
            lines = [f"{first + i:06} {code}\n" for i in range(24)]
            (lists / f"cat_{split}.txt").write_text("".join(lines))
        with pytest.raises(ValueError, match=message):
            Voc07Svm(root=str(tmp_path)).run(context(tmp_path / "out"))
    for name in ("cat_train", "cat_val"):
        (lists / f"{name}.txt").unlink()
    with pytest.raises(ValueError, match=r"shots=\[96\]: train has only 8 images of red; lower it or add null"):
        Voc07Svm(root=str(tmp_path), shots=[96]).run(context(tmp_path / "out"))


@pytest.mark.parametrize(
    ("bad", "message"), [({"shots": []}, "shots"), ({"shots": [0]}, "shots"), ({"n_samples": 0}, "n_samples")]
)
def test_settings_that_cannot_be_are_refused(bad, message):
    with pytest.raises(ValueError, match=rf"evaluation\.{message}"):
        Voc07Svm(**bad)


@pytest.mark.parametrize("bad", [{"costs": []}, {"costs": [0.0]}, {"n_folds": 1}, {"few_cost": 0.0}])
def test_svms_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match=rf"evaluation\.svm\.{next(iter(bad))}"):
        LinearSvm(**bad)
