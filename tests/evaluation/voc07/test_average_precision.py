"""Average precision: by hand, against scikit-learn, and what must not change it."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import binary_average_precision

from deepcluster.evaluation.voc07.average_precision import (
    RULES,
    class_average_precisions,
    devkit,
    eleven_point,
    interpolated_area,
    means,
    official,
    precision_recall,
    step_area,
)


def ranking(letters: str):
    """Scores and positives of a ranked list: "+-+" is a hit, a miss, a hit."""
    return -torch.arange(len(letters), dtype=torch.float32), torch.tensor([letter == "+" for letter in letters])


@pytest.mark.parametrize(
    ("letters", "by_eleven", "by_area", "by_step"),
    [
        ("++--", 1.0, 1.0, 1.0),
        # recall 1/2 at precision 1, recall 1 at 2/3: six points (0 to 0.5) see 1, five see 2/3
        ("+-+-", (6 * 1 + 5 * 2 / 3) / 11, 1 / 2 + 1 / 2 * 2 / 3, 1 / 2 + 1 / 2 * 2 / 3),
        # precision 1/2 at recall 1/2, 2/3 at recall 1: interpolation lifts the first to 2/3
        ("-++", 2 / 3, 2 / 3, (1 / 2 + 2 / 3) / 2),
        ("---+", 1 / 4, 1 / 4, 1 / 4),
        # ten positives: the third lies behind one miss and stands exactly at recall 0.3
        ("++-" + "+" + "-" * 6 + "+" * 7, (3 * 1 + 1 * 3 / 4 + 7 * 10 / 17) / 11, None, None),
    ],
)
def test_rankings_worked_out_by_hand(letters, by_eleven, by_area, by_step):
    curve = precision_recall(*ranking(letters))
    assert eleven_point(curve) == pytest.approx(by_eleven, abs=1e-12)
    if by_area is not None:
        assert interpolated_area(curve) == pytest.approx(by_area, abs=1e-12)
        assert step_area(curve) == pytest.approx(by_step, abs=1e-12)


def test_the_devkit_counts_three_six_and_seven_tenths_as_a_bit_more():
    # ten positives; the third stands behind one miss, exactly at recall 0.3, the sixth and seventh behind eight
    scores, positive = ranking("++-+" + "-" * 6 + "+" * 7)
    curve = precision_recall(scores, positive)
    assert eleven_point(curve) == pytest.approx((3 * 1 + 3 / 4 + 7 * 10 / 17) / 11, abs=1e-12)
    assert devkit(curve) == pytest.approx((3 * 1 + 8 * 10 / 17) / 11, abs=1e-12)
    # 10 hits, then the points .6 and .7 are the only ones that differ: five and seven hits before misses
    curve = precision_recall(*ranking("++++++-+--+-+--+"))
    points = [1, 1, 1, 1, 1, 1, 1, 7 / 8, 8 / 11, 9 / 13, 10 / 16]
    assert eleven_point(curve) == pytest.approx(sum(points) / 11, abs=1e-12)
    points[6:8] = points[7:9]
    assert devkit(curve) == pytest.approx(sum(points) / 11, abs=1e-12)


def test_where_no_recall_is_three_six_or_seven_tenths_the_devkit_counts_the_same():
    generator = torch.Generator().manual_seed(0)
    scores, positive = torch.randn(300, generator=generator), torch.arange(300) % 13 == 0  # 24 positives
    curve = precision_recall(scores, positive)
    assert devkit(curve) == eleven_point(curve)


@pytest.mark.parametrize("ties", [False, True])
def test_steps_are_scikit_learns_and_torchmetrics_average_precision(ties):
    generator = np.random.default_rng(0)
    for _ in range(20):
        positive = generator.random(200) < 0.1
        positive[0] = True
        scores = generator.normal(size=200) + positive
        scores = np.round(scores, 1) if ties else scores
        curve = precision_recall(torch.from_numpy(scores), torch.from_numpy(positive))
        assert step_area(curve) == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
        chances = torch.from_numpy((scores - scores.min()) / np.ptp(scores))  # torchmetrics' sigmoid would part ties
        float32 = binary_average_precision(chances, torch.from_numpy(positive).long())
        assert step_area(curve) == pytest.approx(float(float32), abs=1e-5)
        expected = average_precision_score(positive, scores - 1e-5 * positive)
        assert official(torch.from_numpy(scores), torch.from_numpy(positive)) == pytest.approx(expected, abs=1e-12)


def test_the_2018_tie_break_puts_ties_and_near_ones_against_the_classifier():
    positive = torch.tensor([True, False])
    for scores in ([0.5, 0.5], [0.5, 0.5 - 5e-6]):
        assert official(torch.tensor(scores, dtype=torch.float64), positive) == 0.5
    assert official(torch.tensor([0.5, 0.5 - 2e-5], dtype=torch.float64), positive) == 1.0


def test_neither_the_order_of_images_nor_a_rising_change_of_scores_matters():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(300, generator=generator).mul(5).round()  # many ties
    positive = torch.rand(300, generator=generator) < 0.2
    order = torch.randperm(300, generator=generator)
    for rule, value in RULES.items():
        assert value(scores[order], positive[order]) == pytest.approx(value(scores, positive), abs=1e-12), rule
        assert value(3 * scores + 1, positive) == pytest.approx(value(scores, positive), abs=1e-12), rule


def test_interpolation_never_lowers_and_chance_gives_the_share_of_positives():
    generator = torch.Generator().manual_seed(1)
    scores, positive = torch.randn(20_000, generator=generator), torch.rand(20_000, generator=generator) < 0.3
    curve = precision_recall(scores, positive)
    assert interpolated_area(curve) >= step_area(curve) == pytest.approx(0.3, abs=0.02)


def test_difficult_images_are_left_out_and_classes_without_positives_do_not_count():
    # class 0: the difficult image on top neither helps nor hurts; class 1: nothing to find
    scores = torch.tensor([[9.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0]])
    labels = torch.tensor([[-1, 0], [1, 0], [0, -1], [1, 0]], dtype=torch.int8)
    found = class_average_precisions(scores, labels)
    assert found["step"][0] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3) and math.isnan(found["step"][1])
    assert means(found)["map_step"] == found["step"][0]
    assert set(means(found)) == {"map_11_point", "map_devkit", "map_area", "map_step", "map_official"}


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        precision_recall(torch.tensor([0.0, float("nan")]), torch.tensor([True, False]))
    with pytest.raises(ValueError, match="no test image shows any"):
        class_average_precisions(torch.zeros(2, 1), torch.tensor([[0], [-1]]))
