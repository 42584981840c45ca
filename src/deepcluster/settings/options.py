"""The groups whose options have different settings: group -> kind -> class of settings.

The config file of an option names its class with `defaults: [/GROUP_KIND@_here_, _self_]`. A stored config without a
kind has the first kind of its group: it is older than the other kinds.
"""

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.pic import PIC
from deepcluster.clustering.sinkhorn_clustering import Sinkhorn
from deepcluster.clustering.spectral import Spectral
from deepcluster.data.settings import SOURCES
from deepcluster.evaluation.clusters.assign import Assign
from deepcluster.evaluation.clusters.cluster_quality import ClusterQuality
from deepcluster.evaluation.export import Export
from deepcluster.evaluation.probe.knn_sweep import KnnSweep
from deepcluster.evaluation.probe.representation import Representation
from deepcluster.evaluation.probe.stage_probe import StageProbe
from deepcluster.evaluation.probe.transfer import Transfer
from deepcluster.evaluation.retrieval.instance_retrieval import Retrieval
from deepcluster.evaluation.samples.embed import Embed
from deepcluster.evaluation.samples.files import WriteFiles
from deepcluster.evaluation.samples.sort_files import SortFiles
from deepcluster.evaluation.voc07.detection.evaluation import Voc07Detection
from deepcluster.evaluation.voc07.fine_tuning import Voc07
from deepcluster.evaluation.voc07.frozen_svm import Voc07Svm
from deepcluster.evaluation.voc07.segmentation.evaluation import Voc07Segmentation
from deepcluster.features.other_rows import OtherRows
from deepcluster.features.other_rows_coates import CoatesRows
from deepcluster.features.other_rows_file import FileRows
from deepcluster.features.other_rows_network import NetworkRows
from deepcluster.features.other_rows_patches_and_pixels import PatchesAndPixelsRows
from deepcluster.features.other_rows_pixels import PixelRows
from deepcluster.tracking.settings import LoggerSettings, MLflowSettings, TensorBoardSettings, WandbSettings
from deepcluster.training.embedding import Embedding, MLPEmbedding
from deepcluster.training.head_settings import CentroidSettings, LinearSettings, PrototypeSettings
from deepcluster.training.optimizer import AdamWSettings, LARSSettings, SGDSettings
from deepcluster.training.target_settings import LookupSettings, SinkhornSettings
from deepcluster.visualization.alignment_plot import DrawnInitialAlignment
from deepcluster.visualization.curves import Curves
from deepcluster.visualization.embedding import Embedding as DrawnEmbedding
from deepcluster.visualization.first_filters import FirstFilters
from deepcluster.visualization.gradient_ascent import GradientAscent
from deepcluster.visualization.merge import Merge
from deepcluster.visualization.page.evaluation import Page
from deepcluster.visualization.top_images import TopImages
from deepcluster.weights.start import CheckpointInit, KMeansPatchesInit, RandomInit, ScatterInit, WeightsInit

OPTIONS: dict[str, dict[str, type]] = {
    "data": {**SOURCES},
    "init": {
        "random": RandomInit,
        "checkpoint": CheckpointInit,
        "weights": WeightsInit,
        "kmeans_patches": KMeansPatchesInit,
        "scatter": ScatterInit,
    },
    "clustering": {"kmeans": KMeans, "spectral": Spectral, "pic": PIC, "sinkhorn": Sinkhorn},
    "embedding": {"none": Embedding, "mlp": MLPEmbedding},
    "other_rows": {
        "none": OtherRows,
        "coates": CoatesRows,
        "pixels": PixelRows,
        "patches_and_pixels": PatchesAndPixelsRows,
        "network": NetworkRows,
        "file": FileRows,
    },
    "head": {"linear": LinearSettings, "centroids": CentroidSettings, "prototypes": PrototypeSettings},
    "targets": {"lookup": LookupSettings, "sinkhorn": SinkhornSettings},
    "optimizer": {"sgd": SGDSettings, "adamw": AdamWSettings, "lars": LARSSettings},
    "logger": {
        "csv": LoggerSettings,
        "wandb": WandbSettings,
        "mlflow": MLflowSettings,
        "tensorboard": TensorBoardSettings,
    },
}

EVAL_OPTIONS: dict[str, dict[str, type]] = {  # of eval.py only
    "evaluation": {
        "representation": Representation,
        "assign": Assign,
        "export": Export,
        "files": WriteFiles,
        "embed": Embed,
        "sort": SortFiles,
        "linear_probe": StageProbe,
        "transfer": Transfer,
        "voc07": Voc07,
        "voc07_svm": Voc07Svm,
        "voc07_detection": Voc07Detection,
        "voc07_segmentation": Voc07Segmentation,
        "knn": KnnSweep,
        "cluster_quality": ClusterQuality,
        "initial_alignment": DrawnInitialAlignment,
        "retrieval": Retrieval,
        "first_filters": FirstFilters,
        "gradient_ascent": GradientAscent,
        "top_images": TopImages,
        "curves": Curves,
        "embedding": DrawnEmbedding,
        "page": Page,
        "merge": Merge,
    },
}


def kind_key(group: str) -> str:
    """The key of a group that holds its kind."""
    return "source" if group == "data" else "kind"
