"""Build what Lightning trains: backbone, embedding, head, targets and memory bank. Next: assemble.py."""

import copy
from typing import Any

import torch

from deepcluster.clustering.method import Clustering
from deepcluster.data.multi_crop import MultiCrop
from deepcluster.features.bank import MemoryBank
from deepcluster.features.other_rows import OtherRows, UsedRows
from deepcluster.features.rows import Rows
from deepcluster.models.backbone import Backbone
from deepcluster.system.seeding import mix
from deepcluster.training.beside import BesideHeads
from deepcluster.training.embedding import Embedding
from deepcluster.training.head_settings import HeadSettings
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.optimizer import OptimizerSettings
from deepcluster.training.peer import Peer
from deepcluster.training.target_settings import TargetSettings


def build_module(
    backbone: Backbone,
    *,
    view: MultiCrop,
    card: dict[str, Any],
    n_images: int,
    embedding: Embedding,
    head: HeadSettings,
    targets: TargetSettings,
    rows: Rows,
    other_rows: OtherRows,
    clustering: Clustering,
    optimizer: OptimizerSettings,
    seed: int,
    second: Backbone | None = None,
) -> DeepClusterModule:
    """The module around a backbone; weights of embedding and prototypes are drawn by the seed.

    Args:
        card: what rebuilds the backbone.
        n_images: N.
        second: the backbone of co-teaching's second network, which the module gets a copy of; None: there is none.
    """
    dim = embedding.output_dim(backbone.feature_dim)
    capacities = [labeling.capacity(n_images) for labeling in clustering.labelings()]
    beside, peer = None, None
    if second is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(seed, "embedding and head", "co-teaching"))
            own_head = head.build(dim, capacities, relu=embedding.is_identity)
            own_embedding = embedding.build(backbone.feature_dim)
            peer = Peer(copy.deepcopy(second), own_embedding, own_head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed, "embedding and head"))
        if isinstance(other_rows, UsedRows) and other_rows.n_beside:
            ks = [capacities[i % len(capacities)] for i in range(other_rows.n_beside)]
            beside = BesideHeads(backbone.feature_dim, ks, weight=other_rows.weight, fade_epochs=other_rows.fade_epochs)
        built_head = head.build(dim, capacities, relu=embedding.is_identity)
        return DeepClusterModule(
            backbone,
            built_head,
            view=view,
            optimizer=optimizer,
            seed=seed,
            card=card,
            embedding=embedding.build(backbone.feature_dim),
            embedding_dim=dim,
            targets=targets.build(temperature=built_head.temperature),
            bank=MemoryBank(n_images, view.n_large, dim) if rows.of == "bank" and targets.needs_labels else None,
            beside=beside,
            peer=peer,
        )
