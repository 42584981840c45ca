"""One row for each seed and setting -> one for each setting, and how well each score ranks the settings."""

import csv
import io
import math
import statistics
from typing import Any

import numpy as np
from scipy.stats import spearmanr

COLUMNS = ("seed", "k", "dim", "nmi", "silhouette", "predictability", "predictability_gain")
SCORES = ("agreement", "silhouette", "predictability", "predictability_gain")
TITLES = dict(zip(SCORES, ("agreement", "silhouette", "predictable", "gain"), strict=True))
QUANTILES = {"min": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "max": 1.0}
FEWEST_SETTINGS = 3  # a rank correlation of two is always 1 or -1

Row = dict[str, Any]


def setting_name(k: int, dim: int | None) -> str:
    """For the keys of results.json: k5_pca40, k5_no_pca."""
    return f"k{k}_{'no_pca' if dim is None else f'pca{dim}'}"


def shown_setting(k: int, dim: int | None) -> str:
    """For people: K = 5, PCA 40."""
    return f"K = {k}, " + ("no PCA" if dim is None else f"PCA {dim}")


def summarise(rows: list[Row], agreement: dict[tuple[int, int | None], float | None]) -> list[Row]:
    """For each setting the quartiles of NMI over the seeds, the agreement of the seeds, the median of other scores.

    Args:
        rows: one for each seed and setting, of `COLUMNS`; NMI None without labels.
        agreement: by (k, dim); None of one seed.
    """
    table = []
    for (k, dim), agreed in agreement.items():
        own = [row for row in rows if (row["k"], row["dim"]) == (k, dim)]
        line: Row = {"k": k, "dim": dim, "n_seeds": len(own)}
        nmis = [row["nmi"] for row in own if row["nmi"] is not None]
        for name, share in QUANTILES.items():
            line[f"nmi_{name}"] = float(np.quantile(nmis, share)) if nmis else None
        line["agreement"] = agreed
        for score in SCORES[1:]:
            values = [row[score] for row in own if row[score] is not None]
            line[score] = statistics.median(values) if values else None
        table.append(line)
    return table


def rank_correlations(table: list[Row]) -> dict[str, float]:
    """Spearman's correlation of each label-free score with the median NMI over the settings.

    Returns:
        score -> correlation, of the scores and NMI that every setting has, from three settings on, if neither is
        constant.
    """
    found = {}
    truth = [line["nmi_median"] for line in table]
    for score in SCORES:
        values = [line[score] for line in table]
        if len(table) < FEWEST_SETTINGS or None in values or None in truth:
            continue
        if len(set(values)) > 1 and len(set(truth)) > 1:
            correlation = float(spearmanr(values, truth).statistic)
            if math.isfinite(correlation):
                found[score] = correlation
    return found


def lines(table: list[Row], correlations: dict[str, float]) -> list[str]:
    """The table for a terminal, without the scores that no setting has."""
    shown = [score for score in SCORES if any(line[score] is not None for line in table)]
    found = [f"{'':18}{'NMI median (quartiles)':>25}" + "".join(f"{TITLES[score]:>13}" for score in shown)]
    for line in table:
        spread = f"{_shown(line['nmi_median'])} ({_shown(line['nmi_q1'])}, {_shown(line['nmi_q3'])})"
        found.append(f"{shown_setting(line['k'], line['dim']):18}{spread:>25}" + _scores(line, shown))
    if correlations:
        found.append(f"{'rank correlation with NMI (Spearman)':43}" + _scores(correlations, shown))
    return found


def _scores(line: Row, shown: list[str]) -> str:
    return "".join(f"{_shown(line.get(score)):>13}" for score in shown)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def as_csv(rows: list[Row]) -> bytes:
    """Rows of one shape as a CSV file; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
