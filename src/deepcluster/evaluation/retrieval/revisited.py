"""Reads ROxford5k and RParis6k: the protocol with easy, hard and junk images. Called by layouts.py."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from deepcluster.evaluation.retrieval import plain_pickle
from deepcluster.evaluation.retrieval.oxford import images_by_name, region
from deepcluster.evaluation.retrieval.sets import Box, Query, RetrievalSet, Truth

# Protocol -> the lists whose images are positives, and the lists whose images are ignored (Radenovic et al. 2018).
REVISITED = {
    "easy": (("easy",), ("hard", "junk")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("easy", "junk")),
}


def revisited_set(root: Path, ground_truth: str | None) -> RetrievalSet:
    """ROxford5k or RParis6k: ``jpg/`` and ``gnd_roxford5k.pkl``, or the same content as JSON.

    The file holds imlist (the database, without the queries), qimlist (the queries) and gnd: for each query its region
    bbx, and easy, hard and junk (indices into imlist). REVISITED says which are positives and which are ignored.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the ground truth does not have this form, or is a pickle that would run code.
    """
    candidates = ground_truths(root)
    if ground_truth is not None:
        file = root / ground_truth
    elif len(candidates) == 1:
        file = candidates[0]
    else:
        what_it_has = ", ".join(f.name for f in candidates) or "none"
        raise FileNotFoundError(
            f"evaluation.root={root} must hold one gnd_*.pkl or gnd_*.json of the revisited protocol, "
            f"it has {what_it_has}; name it with evaluation.ground_truth=FILE"
        )
    if not file.is_file():
        raise FileNotFoundError(f"evaluation.ground_truth={ground_truth}: no such file in {root}")
    data = file.read_bytes()
    try:
        content = json.loads(data) if file.suffix == ".json" else plain_pickle.loads(data)
        names, query_names, records = ([*content[key]] for key in ("imlist", "qimlist", "gnd"))
        parsed = [_record(record, len(names)) for record in records]
        if len(records) != len(query_names):
            raise ValueError(f"{len(records)} records for {len(query_names)} queries")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a ground truth of the revisited protocol (imlist, qimlist, gnd with bbx, easy, hard, junk)"
            f": {'no ' if isinstance(error, KeyError) else ''}{error}"
        ) from error
    images = images_by_name(root)
    missing = [name for name in [*names, *query_names] if name not in images]
    if missing:
        raise FileNotFoundError(
            f"{root}/jpg lacks {len(missing)} of the {len(names) + len(query_names)} images that {file.name} names, "
            f"first {missing[0]}"
        )
    queries = [
        Query(name=name, path=images[name], truths=truths, box=box)
        for name, (box, truths) in zip(query_names, parsed, strict=True)
    ]
    repeated = [name for name, n in Counter(query_names).items() if n > 1]
    if repeated:
        raise ValueError(f"{file}: {repeated[0]} is a query more than once")
    return RetrievalSet(layout="revisited", root=root, database=[images[name] for name in names], queries=queries)


def _record(record: Any, n_images: int) -> tuple[Box | None, dict[str, Truth]]:
    lists = {}
    for name in ("easy", "hard", "junk"):
        indices = np.asarray(record[name]).ravel().tolist()
        if any(i != int(i) or not 0 <= i < n_images for i in indices):
            raise ValueError(f"{name} must hold indices from 0 to {n_images - 1}")
        lists[name] = frozenset(int(i) for i in indices)
    truths = {}
    for protocol, (positive, ignored) in REVISITED.items():
        positives = frozenset().union(*(lists[name] for name in positive))
        truths[protocol] = Truth(
            positives=positives, ignored=frozenset().union(*(lists[name] for name in ignored)) - positives
        )
    box = record.get("bbx")
    return None if box is None else region(np.asarray(box).ravel().tolist()), truths


def ground_truths(root: Path) -> list[Path]:
    """The files in a folder that are named like a ground truth of the revisited protocol."""
    return sorted(file for file in root.glob("gnd_*") if file.suffix in (".pkl", ".json"))
