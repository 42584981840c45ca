"""Which choices of a method go together: each can be changed alone, and what cannot is said before the start."""

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.sampler import Sampler
from deepcluster.data.view_settings import View
from deepcluster.features.other_rows import OtherRows, UsedRows
from deepcluster.features.rows import Rows
from deepcluster.training.embedding import Embedding
from deepcluster.training.head_settings import CentroidSettings, HeadSettings, LinearSettings, PrototypeSettings
from deepcluster.training.optimizer import OptimizerSettings
from deepcluster.training.target_settings import LookupSettings, TargetSettings


def check_method(
    *,
    embedding: Embedding,
    rows: Rows,
    other_rows: OtherRows,
    reduction: Reduction,
    clustering: Clustering,
    head: HeadSettings,
    targets: TargetSettings,
    sampler: Sampler,
    view: View,
    optimizer: OptimizerSettings,
) -> None:
    """Refuse choices that cannot go together.

    Raises:
        ValueError: naming both keys and a way out.
    """
    if sampler.kind == "official":
        _check_official(embedding, rows, other_rows, clustering, head, targets, view, optimizer)
    if isinstance(targets, LookupSettings):
        _check_lookup(targets, clustering, head, other_rows)
    if targets.needs_labels:
        _check_rows(rows, clustering)
        _check_kept(head, rows, clustering)
        if isinstance(head, CentroidSettings):
            _check_centroids(embedding, rows, other_rows, reduction, clustering)
    else:
        _check_online(targets, head, sampler, view)
    n_neighbours = getattr(other_rows, "n_neighbours", None)
    if n_neighbours is not None and not isinstance(clustering.of_features(), KMeans):
        raise ValueError(
            f"other_rows.n_neighbours={n_neighbours} clusters other rows by k-means in coordinates of their graph, and "
            f"clustering={clustering.kind} is no k-means; set other_rows.n_neighbours=null, or clustering=kmeans"
        )
    if other_rows.kind != "none" and other_rows.serves(0) and not targets.needs_labels:
        raise ValueError(
            f"other_rows={other_rows.kind} serves reassignments, and targets={targets.kind} has none; set "
            "other_rows.reassignments=0 and other_rows.n_beside=1 to learn them in a head beside"
        )


def _check_official(
    embedding: Embedding,
    rows: Rows,
    other_rows: OtherRows,
    clustering: Clustering,
    head: HeadSettings,
    targets: TargetSettings,
    view: View,
    optimizer: OptimizerSettings,
) -> None:
    if clustering.chooses_k:
        raise ValueError(
            "mode=official (sampler=official) repeats the 2018 code, which is told K, and clustering.k=auto chooses "
            "it; set clustering.k=NUMBER (10,000 for ImageNet in the paper), or leave mode=official out"
        )
    lookup, of_targets = LookupSettings(), {name: value for name, value in vars(targets).items() if name != "kind"}
    later = {
        f"embedding={embedding.kind}": embedding.kind != "none",
        f"rows={rows.of}": rows.of != "features",
        f"other_rows={other_rows.kind}": other_rows.kind != "none",
        f"head={head.kind}": head.kind != "linear",
        "head.redraw=false": not getattr(head, "redraw", True),
        f"targets={targets.kind}": targets.kind != "lookup",
        **{
            f"targets.{name}={_shown(value)}": value != getattr(lookup, name, value)
            for name, value in of_targets.items()
        },
        f"view.n_large={view.n_large}": view.n_large > 1,
        f"view.small.n={view.small.n}": view.small.n > 0,
        f"clustering={clustering.kind}": clustering.kind not in ("kmeans", "pic"),
        f"{len(clustering.labelings())} labelings": len(clustering.labelings()) > 1,
        "clustering.match=true": clustering.match,
        "clustering.start=labels": getattr(clustering, "start", "") == "labels",
        "clustering.spherical=true": getattr(clustering, "spherical", False),
        "clustering.empty=keep": getattr(clustering, "empty", "") == "keep",
        "clustering.sizes=balanced": getattr(clustering, "sizes", "") == "balanced",
        f"optimizer={optimizer.kind}": optimizer.kind != "sgd",
        f"optimizer.layer_decay={optimizer.layer_decay:g}": optimizer.layer_decay < 1,
        f"optimizer.frozen_stages={optimizer.frozen_stages}": bool(optimizer.frozen_stages),
    }
    if found := [key for key, is_later in later.items() if is_later]:
        raise ValueError(
            f"mode=official (sampler=official) repeats the 2018 code, which had no {', '.join(found)}; leave "
            "mode=official out, or set method=deepcluster, clustering=kmeans or pic_official, and optimizer=sgd"
        )


def _shown(value: object) -> object:
    """As it is typed."""
    return str(value).lower() if isinstance(value, bool) else value


def _check_lookup(targets: LookupSettings, clustering: Clustering, head: HeadSettings, other_rows: OtherRows) -> None:
    if targets.softness > 0 and not clustering.labels_are_nearest:
        is_free = getattr(clustering, "sizes", "free") == "free"
        sizes = "" if is_free else f" with clustering.sizes={getattr(clustering, 'sizes', None)}"
        raise ValueError(
            f"targets.softness={targets.softness:g} shares a target by distances to centroids, and the labels of "
            f"clustering={clustering.kind}{sizes} are not those of the nearest one; set targets.softness=0, or "
            "clustering=kmeans"
        )
    if targets.softness > 0 and other_rows.serves(0) and getattr(other_rows, "n_neighbours", None) is not None:
        raise ValueError(
            f"targets.softness={targets.softness:g} shares a target by distances to centroids, and "
            f"other_rows.n_neighbours={getattr(other_rows, 'n_neighbours', None)} makes labels by a graph; set "
            "other_rows.n_neighbours=null, or targets.softness=0"
        )
    if not targets.co_teaching:
        return
    if targets.kept_share == 1:
        raise ValueError(
            "targets.co_teaching=true lets each of two networks choose what the other learns from, and "
            "targets.kept_share=1 keeps all; set targets.kept_share to about the share of right labels, such as 0.8"
        )
    if isinstance(head, CentroidSettings):
        raise ValueError(
            "head=centroids compares embeddings with centroids of the first network's, and with "
            "targets.co_teaching=true the second network's is another space; set head=linear, or "
            "targets.co_teaching=false"
        )
    if isinstance(other_rows, UsedRows) and other_rows.n_beside:
        raise ValueError(
            f"other_rows.n_beside={other_rows.n_beside} heads read one network's features, and "
            "targets.co_teaching=true trains two; set other_rows.n_beside=0, or targets.co_teaching=false"
        )


def _check_rows(rows: Rows, clustering: Clustering) -> None:
    if clustering.needs_scores and rows.of != "scores":
        raise ValueError(
            f"clustering={clustering.kind} assigns images by the head's scores, but rows.of={rows.of}; set rows=scores"
        )
    if rows.of == "scores" and not clustering.needs_scores:
        raise ValueError(
            f"rows.of=scores is for clustering=sinkhorn, got clustering={clustering.kind}; set rows=features, or "
            "clustering=sinkhorn"
        )


def _check_kept(head: HeadSettings, rows: Rows, clustering: Clustering) -> None:
    """Scores are clustered by a head that stays, and a head that stays needs clusters that keep their numbers."""
    if isinstance(head, LinearSettings) and head.redraw:
        if rows.of == "scores":
            raise ValueError(
                "rows=scores clusters the head's scores, and head.redraw=true would draw that head anew after each "
                "reassignment; set head.redraw=false"
            )
    elif not isinstance(head, CentroidSettings) and rows.of != "scores" and not clustering.match:
        kept = "head.redraw=false" if isinstance(head, LinearSettings) else f"head={head.kind}"
        raise ValueError(
            f"{kept} keeps a head whose clusters get other numbers at each reassignment; set clustering.match=true, "
            "which lets a cluster keep its number"
        )


def _check_centroids(
    embedding: Embedding, rows: Rows, other_rows: OtherRows, reduction: Reduction, clustering: Clustering
) -> None:
    in_embedding = rows.of in ("embedding", "bank") or (rows.of == "features" and embedding.is_identity)
    if not in_embedding:
        raise ValueError(
            f"head=centroids compares centroids with the embedding, and rows.of={rows.of} is another space; set "
            "rows=bank or rows=embedding"
        )
    if reduction.dim is not None or reduction.whiten:
        raise ValueError(
            f"head=centroids compares centroids with the embedding, and reduction.dim={reduction.dim}, "
            f"reduction.whiten={reduction.whiten} takes them to another space; set reduction=none or reduction=l2"
        )
    if other_rows.serves(0):
        raise ValueError(
            f"head=centroids needs centroids of the embedding, and other_rows={other_rows.kind} gives others; set "
            "other_rows.reassignments=0 and other_rows.n_beside=1 to learn them in a head beside, or head=linear"
        )
    if not clustering.k_is_fixed or getattr(clustering, "empty", "") == "squeeze":
        raise ValueError(
            f"head=centroids has one vector for each of K clusters, and clustering={clustering.kind} finds a number of "
            "its own (or clustering.empty=squeeze leaves some out); set clustering=kmeans_v2 or head=linear"
        )


def _check_online(targets: TargetSettings, head: HeadSettings, sampler: Sampler, view: View) -> None:
    if not isinstance(head, PrototypeSettings):
        raise ValueError(
            f"targets={targets.kind} assigns crops to learned prototypes, and head={head.kind} has none; set "
            "head=prototypes"
        )
    if view.n_large + view.small.n < 2:
        raise ValueError(
            f"targets={targets.kind} compares crops of an image with each other, and view.n_large={view.n_large} with "
            f"view.small.n={view.small.n} is one crop; set view.n_large=2"
        )
    if sampler.kind != "proportional":
        raise ValueError(
            f"targets={targets.kind} clusters no images while it trains, so that sampler={sampler.kind} has no "
            "clusters to draw from; set sampler=proportional"
        )
