"""The settings of methods on the tiny images: tiny.build(folder, **V2)."""

from typing import Any

from support import tiny
from support.tiny import Method

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.reduction import Reduction
from deepcluster.clustering.sinkhorn_clustering import Sinkhorn
from deepcluster.data.sampler import Sampler
from deepcluster.data.view_settings import SmallCrops
from deepcluster.features.rows import Rows
from deepcluster.training.embedding import MLPEmbedding
from deepcluster.training.head_settings import CentroidSettings, LinearSettings, PrototypeSettings
from deepcluster.training.target_settings import LookupSettings, SinkhornSettings

PLAIN = Reduction(dim=None, whiten=False, l2=False)
MLP = MLPEmbedding(hidden=16, dim=8)
PROPORTIONAL = Sampler(kind="proportional")

V2: dict[str, Any] = dict(
    method=Method(
        embedding=MLP, rows=Rows(of="bank"), head=CentroidSettings(), n_large=2, small=SmallCrops(n=1, size=16)
    ),
    clustering=KMeans(k=tiny.K, n_iter=5, n_labelings=3, spherical=True, empty="keep"),
    reduction=PLAIN,
    sampler=PROPORTIONAL,
)
SWAV: dict[str, Any] = dict(
    method=Method(embedding=MLP, head=PrototypeSettings(frozen_steps=2), targets=SinkhornSettings(queue=48), n_large=2),
    sampler=PROPORTIONAL,
)
SELA: dict[str, Any] = dict(
    method=Method(rows=Rows(of="scores"), head=LinearSettings(redraw=False)),
    clustering=Sinkhorn(k=tiny.K, n_labelings=2),
    sampler=PROPORTIONAL,
)
CO_TEACHING: dict[str, Any] = dict(  # with soft targets
    method=Method(targets=LookupSettings(co_teaching=True, kept_share=0.7, kept_ramp_epochs=2, softness=0.2, n_soft=3)),
    clustering=KMeans(k=tiny.K, n_iter=5, match=True, parallel="shares"),
)
