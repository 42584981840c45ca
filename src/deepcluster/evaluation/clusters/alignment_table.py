"""Sums up initial_alignment: rows by seed, K and dimension -> rows by K and dimension, and rank correlations."""

import math
import statistics
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from deepcluster.system.tables import aligned

SCORES = ("agreement", "silhouette", "predictability", "predictability_gain")
TITLES = dict(zip(SCORES, ("agreement", "silhouette", "predictable", "gain"), strict=True))
QUANTILES = {"min": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "max": 1.0}
N_SPANNING = 10  # seeds that are named to train on, where there are more
FEWEST_PAIRS = 3  # the rank correlation of two pairs is always 1 or -1

Row = dict[str, Any]


def pair_key(k: int, dim: int | None) -> str:
    """K and dimension in keys of results.json: k5_pca40, k5_no_pca."""
    return f"k{k}_{'no_pca' if dim is None else f'pca{dim}'}"


def pair_in_words(k: int, dim: int | None) -> str:
    """K and dimension for the terminal: K = 5, PCA 40."""
    return f"K = {k}, " + ("no PCA" if dim is None else f"PCA {dim}")


def summarise(rows: list[Row], agreement: dict[tuple[int, int | None], float | None]) -> list[Row]:
    """One row for each K and dimension: quartiles of NMI over seeds, agreement of the seeds, medians of other scores.

    Args:
        rows: one for each seed and pair, with seed, k, dim, nmi (None without labels), and `SCORES` without agreement.
        agreement: by (k, dim); None if there is only one seed.
    """
    table = []
    for (k, dim), agreement_of_seeds in agreement.items():
        of_pair = [row for row in rows if (row["k"], row["dim"]) == (k, dim)]
        line: Row = {"k": k, "dim": dim, "n_seeds": len(of_pair)}
        nmis = [row["nmi"] for row in of_pair if row["nmi"] is not None]
        for name, share in QUANTILES.items():
            line[f"nmi_{name}"] = float(np.quantile(nmis, share)) if nmis else None
        line["agreement"] = agreement_of_seeds
        for score in SCORES[1:]:
            values = [row[score] for row in of_pair if row[score] is not None]
            line[score] = statistics.median(values) if values else None
        table.append(line)
    return table


def spanning_seeds(rows: list[Row], k: int, dim: int | None, n: int) -> list[int]:
    """n seeds whose NMI at one K and dimension spans that of all: the nearest to n even steps from lowest to highest.

    Args:
        rows: one for each seed and pair, with seed, k, dim, nmi; at least n seeds.

    Returns:
        The seeds by their NMI, each once.
    """
    nmi = {row["seed"]: row["nmi"] for row in rows if (row["k"], row["dim"]) == (k, dim)}
    chosen: list[int] = []
    for step in np.linspace(min(nmi.values()), max(nmi.values()), n):
        chosen.append(min(nmi.keys() - chosen, key=lambda seed: (abs(nmi[seed] - step), seed)))
    return sorted(chosen, key=lambda seed: nmi[seed])


def rank_correlations(table: list[Row]) -> dict[str, float]:
    """Spearman's rank correlation of each label-free score with the median NMI, over the pairs of K and dimension.

    Returns:
        score -> correlation. A score is left out if a pair lacks it or if all pairs have the same value; all are left
        out if there are fewer than three pairs.
    """
    correlations = {}
    truth = [line["nmi_median"] for line in table]
    for score in SCORES:
        values = [line[score] for line in table]
        if len(table) < FEWEST_PAIRS or None in values or None in truth:
            continue
        if len(set(values)) > 1 and len(set(truth)) > 1:
            correlation = float(spearmanr(values, truth).statistic)
            if math.isfinite(correlation):
                correlations[score] = correlation
    return correlations


def table_lines(table: list[Row], correlations: dict[str, float]) -> list[str]:
    """The table for the terminal; scores that no pair has get no column."""
    shown = [score for score in SCORES if any(line[score] is not None for line in table)]
    rows = [["", "NMI median (quartiles)", *(TITLES[score] for score in shown)]]
    for line in table:
        spread = f"{_cell(line['nmi_median'])} ({_cell(line['nmi_q1'])}, {_cell(line['nmi_q3'])})"
        rows.append([pair_in_words(line["k"], line["dim"]), spread, *(_cell(line[score]) for score in shown)])
    if correlations:
        rows.append(["rank correlation with NMI (Spearman)", "", *(_cell(correlations.get(score)) for score in shown)])
    return aligned(rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
