"""The sentence that tells what training added."""

import pytest

from deepcluster.run.gain import gain_sentence


def knn(**accuracies: float | None) -> dict[str, dict[str, float | None]]:
    return {who: {"knn_accuracy": value} for who, value in accuracies.items()}


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        (
            knn(pixels=0.7, patches=0.831, untrained=0.8, trained=0.821),
            "training added 2.1 points of k-NN accuracy to the untrained network; patches, which need no training, "
            "reach 1.0 more",
        ),
        (
            knn(pixels=0.52, patches=0.5, pretrained=0.55, trained=0.495),
            "training took 5.5 points of k-NN accuracy from the pretrained network; pixels, which need no training, "
            "reach 2.5 more",
        ),
        (
            knn(pixels=0.7, patches=0.6, untrained=0.8, trained=0.8),
            "training left the untrained network's k-NN accuracy as it was; pixels, which need no training, "
            "reach 10.0 less",
        ),
        (
            knn(pixels=0.8, trained=0.8),
            "the network reaches 80.0% k-NN accuracy; pixels, which need no training, reach as much",
        ),
        (knn(untrained=0.8, trained=0.9), "training added 10.0 points of k-NN accuracy to the untrained network"),
        (knn(untrained=0.8, trained=None), None),
        (
            knn(patches=0.527, pretrained=0.923),  # of a run of no epochs
            "the pretrained network reaches 92.3% k-NN accuracy; patches, which need no training, reach 39.6 less",
        ),
        (knn(patches=0.5), None),
    ],
)
def test_gains_and_losses_are_told_against_the_best(
    figures: dict[str, dict[str, float | None]], sentence: str | None
) -> None:
    assert gain_sentence(figures) == sentence


def test_without_labels_it_tells_of_two_crops() -> None:
    figures = {
        who: {"knn_accuracy": None, "crops_nearest": value}
        for who, value in (("patches", 0.3), ("untrained", 0.2), ("trained", 0.4))
    }
    assert gain_sentence(figures) == (
        "training added 20.0 points of two-crop accuracy to the untrained network; patches, which need no training, "
        "reach 10.0 less"
    )


def test_the_better_of_plain_and_whitened_rows_counts_for_each() -> None:
    plain_and_whitened = {"patches": (0.5, 0.7), "untrained": (0.6, 0.4), "trained": (0.3, 0.8)}
    figures = {
        who: {"knn_accuracy": plain, "knn_whitened_accuracy": whitened}
        for who, (plain, whitened) in plain_and_whitened.items()
    }
    assert gain_sentence(figures) == (
        "training added 20.0 points of k-NN accuracy to the untrained network; patches, which need no training, "
        "reach 10.0 less"
    )


def test_where_the_run_ends_with_its_start_that_is_compared_with_the_best() -> None:
    figures = {"patches": {"knn_accuracy": 0.7}, "pretrained": {"knn_accuracy": 0.71}, "trained": {"knn_accuracy": 0.6}}
    assert gain_sentence(figures, is_start=True) == (
        "training took 11.0 points of k-NN accuracy from the pretrained network, so the run ends with the pretrained "
        "network: clusters and files are its; patches, which need no training, reach 1.0 less"
    )


@pytest.mark.parametrize(
    ("start", "trained", "sentence"),
    [
        ((0.679, 0.58, 0.2), (0.667, 0.64, 0.3), "took 1.2 points of k-NN accuracy from the untrained network, but "
         "linear-probe accuracy and NMI with the labels rose"),
        ((0.6, 0.6, 0.2), (0.7, 0.5, 0.1), "added 10.0 points of k-NN accuracy to the untrained network, but "
         "linear-probe accuracy and NMI with the labels fell"),
        ((0.6, 0.6, 0.2), (0.5, 0.7, 0.2), "took 10.0 points of k-NN accuracy from the untrained network, but "
         "linear-probe accuracy rose"),
        ((0.6, 0.6, 0.2), (0.5, 0.7, 0.1), "took 10.0 points of k-NN accuracy from the untrained network"),
        ((0.6, 0.6, 0.2), (0.6, 0.5, 0.1), "left the untrained network's k-NN accuracy as it was, but "
         "linear-probe accuracy and NMI with the labels fell"),
        ((0.6, 0.6, 0.2), (0.6, 0.7, 0.2), "left the untrained network's k-NN accuracy as it was, but "
         "linear-probe accuracy rose"),
        ((0.6, 0.6, 0.2), (0.6, 0.7, 0.1), "left the untrained network's k-NN accuracy as it was"),
        ((0.6, 0.6, 0.2), (0.7, 0.7, 0.1), "added 10.0 points of k-NN accuracy to the untrained network"),
    ],
)  # fmt: skip
def test_where_most_figures_went_the_other_way_it_says_so(
    start: tuple[float, ...], trained: tuple[float, ...], sentence: str
) -> None:
    names = ("knn_accuracy", "linear_probe_accuracy", "nmi_classes")
    figures = {"untrained": dict(zip(names, start, strict=True)), "trained": dict(zip(names, trained, strict=True))}
    assert gain_sentence(figures) == f"training {sentence}"


def test_figures_that_the_start_was_measured_without_are_not_compared() -> None:
    """As of a resumed run that an earlier version began, before crops were compared by whitened rows too."""
    figures = {
        "untrained": {"crops_nearest": 0.15},
        "trained": {"crops_nearest": 0.1, "crops_nearest_whitened": 0.2},
    }
    assert gain_sentence(figures) == "training took 5.0 points of two-crop accuracy from the untrained network"
