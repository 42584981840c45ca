"""The rows of the leaderboard: name -> what each set's run is given. Change a recipe here.

Overrides are train.py's, besides those of the images, which sets.py adds.
"""

from dataclasses import dataclass

SETS = ("embedded", "cifar10", "imagenette")
BASELINES = ("pixels", "patches")  # no network: evaluation/baselines.py has their rows

# The 2018 recipe of each set; most rows change a part of it.
START = {
    "embedded": "",
    "cifar10": "experiment=cifar10",
    "imagenette": "arch=resnet18 view.size=128 view.crop_scale=[0.2,1.0]",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the leaderboard.

    Args:
        name: what it is called.
        overrides: of train.py, in order; empty for a baseline, too.
        baseline: one of BASELINES; None: a run.
    """

    name: str
    overrides: tuple[str, ...] = ()
    baseline: str | None = None


def _changed(change: str) -> dict[str, str]:
    """The 2018 recipe of every set with a change."""
    return {name: f"{start} {change}" for name, start in START.items()}


MAIN = {
    "untrained": _changed("trainer.max_epochs=0"),
    "2018": START,
    "pic": {
        **_changed("clustering=pic"),
        # experiment=cifar10 sets K, and PIC finds its own
        "cifar10": "arch=alexnet_small reduction.dim=256 clustering=pic",
    },
    "sela": _changed("method=sela"),
    "swav": _changed("method=swav"),
    "deepcluster_v2": _changed("method=deepcluster_v2"),
    "recipe": {
        "embedded": "experiment=small_images",
        "cifar10": "experiment=cifar10_swav",
        "imagenette": "experiment=photographs",
    },
}

# From DeepCluster (2018) to DeepCluster-v2: each step keeps those before it; the last is method=deepcluster_v2.
_NO_REDUCTION = "reduction.dim=null reduction.whiten=false reduction.l2=false"
STEPS = {
    "v1": "method=deepcluster",
    "+ two crops": "view.n_large=2",
    "+ each image once an epoch": "sampler=proportional",
    "+ MLP": "embedding=mlp",
    "+ clusters of the embedding": "rows=embedding",
    "+ no PCA": _NO_REDUCTION,
    "+ memory bank": "rows=bank",
    "+ spherical k-means": "clustering=kmeans_v2 clustering.n_labelings=1",
    "+ three labelings": "clustering.n_labelings=3",
    "+ centroids as head = v2": "head=centroids",
}
ALONE = {
    "v1, each image once an epoch": "sampler=proportional",
    "v1, MLP": "embedding=mlp",
    "v1, MLP, clusters of the embedding": "embedding=mlp rows=embedding",
    "v1, no PCA": _NO_REDUCTION,
    "v1, memory bank": "rows=bank",
    "v1, spherical k-means": "clustering=kmeans_v2 clustering.n_labelings=1",
    "v1, three labelings": "clustering.n_labelings=3",
    "v1, centroids as head, no PCA": f"head=centroids {_NO_REDUCTION} reduction.l2=true",
}

# What a row needs besides its changes: an MLP's embedding has 128 dimensions, experiment=cifar10 reduces to 256.
_OF_EMBEDDING = ("+ clusters of the embedding", "v1, MLP, clusters of the embedding")
_NEEDS = {"cifar10": dict.fromkeys(_OF_EMBEDDING, " reduction.dim=128")}

# ResNet-18 on a GPU, for 200 epochs or 15 minutes; the first rows are worth most. SimCLR's crops and LARS as in SwAV.
_SHARED = "arch=resnet18 optimizer=lars optimizer.warmup_epochs=10 reading.batch_size=256 trainer.max_epochs=200"
GPU = {
    "swav": {
        "cifar10": f"{_SHARED} view=strong_32 method=swav clustering.k=300",
        "imagenette": f"{_SHARED} view=strong view.size=128 method=swav clustering.k=300",
    },
    "recipe": {  # experiment=cifar10_swav and photographs with another network, for longer
        "cifar10": "arch=resnet18 view=strong_32 view.crop_scale=[0.25,1.0] method=swav clustering.k=300 "
        "reduction.dim=128 other_rows=patches_and_pixels other_rows.n_filters=200 other_rows.n_neighbours=10 "
        "other_rows.reassignments=0 other_rows.n_beside=2 other_rows.fade_epochs=140 optimizer=adamw "
        "optimizer.lr=2e-3 optimizer.weight_decay=0.01 reading.batch_size=256 trainer.max_epochs=200",
        "imagenette": "experiment=photographs arch=resnet18 other_rows.fade_epochs=140 trainer.max_epochs=200",
    },
    "deepcluster_v2": {
        "cifar10": f"{_SHARED} view=strong_32 method=deepcluster_v2 clustering.k=300",
        "imagenette": f"{_SHARED} view=strong view.size=128 method=deepcluster_v2",
    },
}
GPU_SETS = ("cifar10", "imagenette")
GPU_MINUTES = 15  # of a training


def main_rows(name: str) -> list[Row]:
    """The rows of a set's leaderboard."""
    runs = (Row(name=row, overrides=_words(cells[name])) for row, cells in MAIN.items())
    return [*(Row(name=baseline, baseline=baseline) for baseline in BASELINES), *runs]


def v1_to_v2_rows(name: str) -> list[Row]:
    """What turned DeepCluster into DeepCluster-v2: its cells one after the other, then each alone."""
    rows: list[tuple[str, str]] = []
    words, needs = START[name], _NEEDS.get(name, {})
    for step, change in STEPS.items():
        words = f"{words} {change}"
        rows.append((step, words))
    rows += [(alone, f"{START[name]} {change}") for alone, change in ALONE.items()]
    return [Row(name=row, overrides=_words(words + needs.get(row, ""))) for row, words in rows]


def gpu_rows(name: str) -> list[Row]:
    """The rows for a GPU."""
    return [Row(name=row, overrides=_words(cells[name])) for row, cells in GPU.items() if name in cells]


TABLES = {"main": main_rows, "v1_to_v2": v1_to_v2_rows, "gpu": gpu_rows}


def chosen_rows(name: str, table: str, names: list[str] | None, overrides: list[str]) -> list[Row]:
    """The rows of a set that a command asks for.

    Args:
        name: of the set.
        table: one of TABLES.
        names: of rows; None: all, or with overrides one row that is these alone.
        overrides: are added to each row and to its name.

    Raises:
        ValueError: if there is no such row, or a baseline is given overrides.
    """
    if names is None and overrides:
        return [Row(name=" ".join(overrides), overrides=tuple(overrides))]
    rows = {row.name: row for row in TABLES[table](name)}
    if unknown := [row for row in names or () if row not in rows]:
        raise ValueError(f"--rows {unknown[0]}: --table {table} has {', '.join(rows)}")
    chosen = [rows[row] for row in names or rows]
    if not overrides:
        return chosen
    if names is not None and (fixed := [row.name for row in chosen if row.baseline is not None]):
        raise ValueError(f"--rows {fixed[0]} takes no overrides: it is no run; leave out what follows --")
    more = " ".join(overrides)
    return [
        Row(name=f"{row.name} {more}", overrides=(*row.overrides, *overrides)) for row in chosen if not row.baseline
    ]


def _words(overrides: str) -> tuple[str, ...]:
    return tuple(overrides.split())
