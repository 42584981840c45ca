"""The options of each group that have settings of their own: group -> kind -> class."""

from typing import Any

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.pic import PIC
from deepcluster.evaluation.clusters.assign import Assign
from deepcluster.evaluation.clusters.cluster_quality import ClusterQuality
from deepcluster.evaluation.export import Export
from deepcluster.evaluation.probe.knn_sweep import KnnSweep
from deepcluster.evaluation.probe.representation import Representation
from deepcluster.evaluation.probe.stage_probe import StageProbe
from deepcluster.evaluation.probe.transfer import Transfer
from deepcluster.evaluation.retrieval.top_answers import RetrievalWithPage
from deepcluster.evaluation.voc07.fine_tuning import Voc07
from deepcluster.evaluation.voc07.frozen_svm import Voc07Svm
from deepcluster.tracking.logger import Logger
from deepcluster.tracking.on_mlflow import MLflow
from deepcluster.tracking.on_tensorboard import TensorBoard
from deepcluster.tracking.on_wandb import Wandb
from deepcluster.visualization.alignment_plot import DrawnInitialAlignment
from deepcluster.visualization.curves import Curves
from deepcluster.visualization.embedding import Embedding
from deepcluster.visualization.first_filters import FirstFilters
from deepcluster.visualization.gallery import Gallery
from deepcluster.visualization.gradient_ascent import GradientAscent
from deepcluster.visualization.top_images import TopImages
from deepcluster.weights.start import CheckpointInit, KMeansPatchesInit, RandomInit, WeightsInit

# Groups whose options have settings of their own: group -> kind -> class. An option's file names its schema with
# `defaults: [/GROUP_KIND@_here_, _self_]`; the first kind is that of configs written before there were others.
OPTIONS: dict[str, dict[str, type]] = {
    "init": {
        "random": RandomInit,
        "checkpoint": CheckpointInit,
        "weights": WeightsInit,
        "kmeans_patches": KMeansPatchesInit,
    },
    "clustering": {"kmeans": KMeans, "pic": PIC},
    "logger": {"csv": Logger, "wandb": Wandb, "mlflow": MLflow, "tensorboard": TensorBoard},
}


EVAL_OPTIONS: dict[str, dict[str, type]] = {  # the same for eval.py, whose settings stand in eval_config.py
    "evaluation": {
        "representation": Representation,
        "assign": Assign,
        "export": Export,
        "linear_probe": StageProbe,
        "transfer": Transfer,
        "voc07": Voc07,
        "voc07_svm": Voc07Svm,
        "knn": KnnSweep,
        "cluster_quality": ClusterQuality,
        "initial_alignment": DrawnInitialAlignment,
        "retrieval": RetrievalWithPage,
        "first_filters": FirstFilters,
        "gradient_ascent": GradientAscent,
        "top_images": TopImages,
        "curves": Curves,
        "embedding": Embedding,
        "gallery": Gallery,
    },
}


def check_kinds(config: Any, options: dict[str, dict[str, type]]) -> None:
    """Refuse a `kind` that names another class than the group's option gave.

    Raises:
        ValueError: naming the options.
    """
    for group, kinds in options.items():
        kind = getattr(config, group).kind
        if kinds.get(kind) is not type(getattr(config, group)):
            raise ValueError(f"{group}.kind={kind} is not set by hand: {group}=OPTION chooses among {', '.join(kinds)}")
