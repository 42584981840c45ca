"""README.md of a bundle, a model card as Hugging Face's hub reads it: what the network is and learned, how to use it.

Next: bundle.py writes it beside the files that it names.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import deepcluster
from deepcluster.clustering.assignment import Assignment

UNCHOSEN = "unknown"  # the hub's word for a licence that is not told
MOST_NAMES = 100  # clusters whose names the card lists
_MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's

_ONNX = '''\
```python
import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def pixels(path):
    """A picture as uint8 ({channels}, {size}, {size}): upright, on white, short side resized, central square."""
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("{mode}")
    for short, side in {squares}:
        width, height = picture.size
        scale = short / min(width, height)
        picture = picture.resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
        left, top = round((picture.width - side) / 2), round((picture.height - side) / 2)
        picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture).reshape({size}, {size}, {channels}).transpose(2, 0, 1)


session = onnxruntime.InferenceSession("model.onnx")
batch = np.stack([pixels(path) for path in ["a.jpg", "b.jpg"]])
features, cluster, distance = session.run(None, {{"images": batch}})
```'''


@dataclass(kw_only=True)
class Described:
    """What the card tells.

    Args:
        card: the network's description (weights/checkpoint.py).
        reading: settings of the group `reading` that decide an image's pixels.
        feature_dim: D.
        n_weights: numbers in the network.
        epochs: trained.
        source: the kind of the images, the value of data.source; None: unknown.
        assignment: the clusters.
        names: cluster -> name.
        summary: the run's summary.json; empty without one.
        onnx: a sentence on how model.onnx compares with torch; None: there is none.
        timm: what loads the backbone in timm; None: it is none of timm's.
        license: the licence's identifier on the hub.
    """

    card: Mapping[str, Any]
    reading: Mapping[str, Any]
    feature_dim: int
    n_weights: int
    epochs: int
    source: str | None
    assignment: Assignment
    names: Mapping[str, str]
    summary: Mapping[str, Any]
    onnx: str | None
    timm: str | None
    license: str

    @property
    def network(self) -> str:
        """The architecture's name."""
        arch = self.card["arch"]
        return str(arch.get("name") or arch["_target_"].rpartition(".")[2])


def model_card(told: Described) -> str:
    """The text of README.md."""
    k, card = told.assignment.k, told.card
    size = f"{card['in_channels']} x {card['image_size']} x {card['image_size']}"
    weights = f"{told.n_weights / 1e6:.2f} million weights, " if told.n_weights else ""
    parts = [
        _front_matter(told),
        f"# {told.network} with {k:,} clusters",
        f"Groups pictures into {k:,} clusters and gives {told.feature_dim:,} features of each, by "
        f"[DeepCluster](https://arxiv.org/abs/1807.05520) (deepcluster {deepcluster.__version__}): {told.network}, "
        f"{weights}{size} pixels. {_origin(told)}",
        *_learned(told.summary),
        *_use(told),
        *_clusters(told),
        *_limits(),
        _files(told),
        "## Licence\n\n" + _license(told.license),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(told: Described) -> str:
    tags = ["deepcluster", "self-supervised-learning", "image-clustering"]
    tags += ["onnx"] * (told.onnx is not None) + ["timm"] * (told.timm is not None)
    lines = [
        f"license: {told.license}",
        "library_name: deepcluster",
        "pipeline_tag: image-feature-extraction",
        "tags:",
        *(f"- {tag}" for tag in tags),
    ]
    return "\n".join(["---", *lines, "---"])


def _origin(told: Described) -> str:
    """Where the weights come from."""
    n, start = len(told.assignment.labels), told.summary.get("start")
    images = f"{n:,} images" + ("" if told.source is None else f" (data={told.source})")
    epochs = f"{told.epochs} epoch{'' if told.epochs == 1 else 's'}"
    before = "weights that were trained before, perhaps with labels"
    if told.epochs == 0:
        kept = before if start == "pretrained" else "the weights with which it starts"
        return f"It has {kept}, and was not trained; the clusters are of {images}."
    trained = f"It was trained without labels for {epochs} on {images}"
    return f"{trained}, from {before}." if start == "pretrained" else f"{trained}."


def _learned(summary: Mapping[str, Any]) -> list[str]:
    table = summary.get("table")
    if not table:
        return ["## What it learned\n\nNot known: no figures of a finished run lay beside the network."]
    (_, *columns), *rows = table
    lines = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    beside = [name for name in columns if name in ("pixels", "patches")]
    told = f" {' and '.join(beside)} need no training." if beside else ""
    sentence = f"\n\nIn one sentence: {summary['learned']}." if summary.get("learned") else ""
    return [
        "## What it learned\n\n" + "\n".join(lines),
        f"One run, seed {summary.get('seed')}, measured on that run's own images.{told}{sentence}",
    ]


def _use(told: Described) -> list[str]:
    parts = [
        "## How to use it",
        "In a terminal, for a folder or a list of pictures: sample, cluster and distance as CSV.",
        "    deepcluster predict THIS_FOLDER PICTURES",
        "In Python:",
        "```python\nfrom deepcluster import DeepCluster\n\n"
        'model = DeepCluster.from_pretrained("THIS_FOLDER")  # or its name on the hub\n'
        'model.predict(["a.jpg", "b.jpg"])  # the cluster of each\n'
        'model.transform(["a.jpg", "b.jpg"])  # the features of each\n```',
    ]
    if told.timm is not None:
        parts += ["The backbone alone, in timm:", f"```python\nimport timm\n\nbackbone = {told.timm}\n```"]
    if told.onnx is None:
        return parts
    size, channels = told.card["image_size"], told.card["in_channels"]
    parts.append(
        f"With neither: `model.onnx` takes `images`, uint8 (N, {channels}, {size}, {size}), any N, and gives "
        f"`features` (N, {told.feature_dim}) float32, `cluster` (N,) int64 and `distance` (N,) float32. Normalisation "
        f"is in the graph; {told.onnx}. It computes in float32, `deepcluster predict` in bf16 where the processor "
        "does: a picture between two clusters may then be in the other."
    )
    if channels in _MODES:
        squares = [(told.card["resize"], size)]
        if (stored := told.reading.get("stored_size")) is not None:
            squares.insert(0, (stored, stored))
        parts.append(_ONNX.format(size=size, channels=channels, mode=_MODES[channels], squares=squares))
    return parts


def _clusters(told: Described) -> list[str]:
    sizes = told.assignment.sizes()
    lines = [
        f"## Clusters\n\n{told.assignment.k:,} clusters; of the images that it learned from the smallest holds "
        f"{int(sizes.min()):,}, the median {int(sizes.median()):,}, the largest {int(sizes.max()):,}."
    ]
    rows, n = told.assignment.centroids.shape[1], int((told.assignment.labels >= 0).sum())
    typical = math.sqrt(told.assignment.objective / max(1, n))
    lines.append(
        f"A picture goes to the nearest centroid, by Euclidean distance in the {rows:,} numbers to which its features "
        f"are reduced; `distance` is that to this centroid: {typical:.3g} for the images that it learned from (root "
        "mean square)."
    )
    if told.names:
        named = sorted(told.names.items(), key=lambda pair: int(pair[0]))
        table = ["| cluster | name |", "|---|---|", *(f"| {number} | {name} |" for number, name in named[:MOST_NAMES])]
        lines.append("\n".join(table))
    return lines


def _limits() -> list[str]:
    return [
        "## Limits\n\n"
        "- Clusters are groups of pictures that look alike to the network. They have no meaning but what somebody saw "
        "in them.\n"
        "- Every picture gets a cluster, also one that is like none that the network has seen: look at its distance.\n"
        "- The folder holds no pictures and no names of files."
    ]


def _files(told: Described) -> str:
    rows = {
        "backbone.safetensors": "the network's weights" + (", under timm's names" if told.timm is not None else ""),
        "backbone.json": "architecture, size of the images, normalisation, how pictures are read",
        "clusters.safetensors": "centroids, the reduction of the features, each training image's cluster (no names)",
        **({"names.csv": "names of clusters"} if told.names else {}),
        **({"model.onnx": "all of these in one graph"} if told.onnx is not None else {}),
        **({"config.json": "what timm reads"} if told.timm is not None else {}),
    }
    return "## Files\n\n| file | what |\n|---|---|\n" + "\n".join(
        f"| `{file}` | {what} |" for file, what in rows.items()
    )


def _license(license: str) -> str:
    if license == UNCHOSEN:
        return (
            "Not chosen yet. Whoever publishes this writes it here and in the first lines (`license:`), and asks what "
            "the licence of the pictures allows."
        )
    return f"`{license}`"
