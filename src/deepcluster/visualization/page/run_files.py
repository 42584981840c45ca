"""What else lies in a run's folder and a page shows: duplicates, odd pictures, margins, figures, what changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepcluster.clustering.chosen_k import SCAN_FILE, SCAN_PICTURE
from deepcluster.system.atomic import read_json
from deepcluster.system.tables import read_csv

SUMMARY = "summary.json"
N_ODD = 1000  # least typical pictures that a page shows at most
KINDS = ("new group", "grew", "shrank", "fits nowhere", "gone")  # of changes.csv
SURE = ("crops_together", "crops_nearest", "seeds_agree", "nmi_previous")  # figures that need no labels


def duplicates(folder: Path, places: Mapping[str, int]) -> list[list[dict[str, Any]]]:
    """The groups of duplicates.csv, the largest first; in a group first what to keep, then by distance.

    Args:
        places: a picture's name -> its number on the page. A member that the page does not show, such as a test image
            that was trained on, has its name in place of a number; a group of such members only is left out.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in read_csv(folder / "duplicates.csv"):
        name = row["sample"]
        groups.setdefault(row["group"], []).append(
            {
                **({"image": places[name]} if name in places else {"name": name}),
                "kind": row.get("kind") or "",
                "distance": _number(row.get("distance")),
                "keep": (row.get("keep") or "").lower() in ("1", "true", "yes", "keep"),
            }
        )
    several = [group for group in groups.values() if len(group) > 1 and any("image" in member for member in group)]
    return sorted((sorted(group, key=_first_to_keep) for group in several), key=len, reverse=True)


def _first_to_keep(member: dict[str, Any]) -> tuple[bool, float]:
    return not member["keep"], member["distance"] or 0.0


def odd_pictures(folder: Path, places: Mapping[str, int]) -> dict[str, Any]:
    """The odd ones of odd.csv: numbers on the page and scores, the oddest first; empty without the file.

    Files of older versions do not tell which are odd: then the first are taken.
    """
    listed = (row for row in read_csv(folder / "odd.csv") if row["sample"] in places)
    rows = [row for row in listed if row.get("odd", "true") == "true"]
    rows.sort(key=lambda row: _number(row.get("rank")) or 0)
    rows = rows[:N_ODD]
    images, scores = [places[row["sample"]] for row in rows], [_number(row.get("score")) for row in rows]
    return {"images": images, "scores": scores} if rows else {}


def margins(folder: Path, places: Mapping[str, int]) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """clusters.csv's margins, (N,) in the page's order; None where one is missing."""
    values = np.full(len(places), np.nan, dtype=np.float32)
    for row in read_csv(folder / "clusters.csv"):
        if row["sample"] in places and (margin := _number(row.get("margin"))) is not None:
            values[places[row["sample"]]] = margin
    return values if np.isfinite(values).all() else None


def changes(folder: Path, places: Mapping[str, int]) -> dict[str, Any] | None:
    """What changes.csv tells of a run that follows another; None without the file.

    Returns:
        told: the printed lines; new_groups, grown, shrunk: numbers of clusters; nowhere: pictures that fit nowhere, by
        their numbers on the page; gone: names.
    """
    rows = list(read_csv(folder / "changes.csv"))
    if not (folder / "changes.csv").is_file():
        return None
    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    return {
        "told": read_json(folder / SUMMARY).get("changes", {}).get("told", []),
        "new_groups": [int(row["cluster"]) for row in of_kind["new group"]],
        "grown": [int(row["cluster"]) for row in of_kind["grew"]],
        "shrunk": [int(row["cluster"]) for row in of_kind["shrank"]],
        "nowhere": [places[row["sample"]] for row in of_kind["fits nowhere"] if row["sample"] in places],
        "gone": [row["sample"] for row in of_kind["gone"]],
    }


def figures(folder: Path) -> dict[str, Any]:
    """What summary.json tells: the printed table, what training added, warnings, and how sure the clusters are.

    Returns:
        table, learned, alike as in summary.json (empty or None without them), given_up: epochs after which the run went
        back to its start, and sure: figures of `SURE` that were measured, of the network that the run ended with.
    """
    content = read_json(folder / SUMMARY)
    is_start = content.get("kept") == "start"
    network = content.get(content["start"] if is_start else "trained", {})
    return {
        "given_up": content["epochs"] if is_start else 0,
        "table": content.get("table", []),
        "learned": content.get("learned"),
        "alike": content.get("alike", []),
        "sure": {name: network[name] for name in SURE if network.get(name) is not None},
    }


def scan(folder: Path, page: Path) -> dict[str, Any] | None:
    """Why a run with clustering.k=auto has its K; the scan's picture is copied to the page. None without a scan.

    Args:
        folder: the run's.
        page: the page's.
    """
    content = read_json(folder / SCAN_FILE)
    if not content:
        return None
    picture = folder / SCAN_PICTURE
    if has_picture := picture.is_file():
        (page / picture.name).write_bytes(picture.read_bytes())
    return {"k": content["k"], "told": content["told"], "picture": picture.name if has_picture else None}


def _number(text: str | None) -> float | None:
    return float(text) if text else None
