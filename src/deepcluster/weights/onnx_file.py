"""Convert a backbone, perhaps with its clusters, to an ONNX graph, and compare it with torch.

Next: evaluation/export_files.py.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from deepcluster.clustering.assignment import Assignment
from deepcluster.models.backbone import Backbone
from deepcluster.system.extras import install_extra
from deepcluster.system.seeding import generator

TOLERANCE = 1e-4  # of the largest feature; float32 sums in another order differ by about 1e-6
NEAR = 1e-3  # of an image's length: where it is as much farther from another centroid, it may go there as well
INPUT, OUTPUTS = "images", ("features", "cluster", "distance")


class PixelNetwork(nn.Module):
    """Pixels (B, C, H, W) uint8 -> features (B, D) float32: normalisation, then the backbone.

    Normalisation is part of the graph, so that it is always that of training. With clusters it also gives each image's
    nearest centroid, (B,) int64, and the Euclidean distance to it in the reduced space, (B,) float32.
    """

    mean: Tensor
    std: Tensor
    shift: Tensor
    projection: Tensor
    centroids: Tensor
    offset: Tensor

    def __init__(
        self, backbone: Backbone, mean: list[float], std: list[float], assignment: Assignment | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", 255 * torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(-1, 1, 1))
        self.has_clusters, self.l2, self.is_projected = assignment is not None, False, False
        if assignment is None:
            return
        if (reduction := assignment.reduction) is not None:
            self.l2, self.is_projected = reduction.l2, reduction.projection is not None
            self.register_buffer("shift", reduction.mean)
            self.register_buffer("projection", reduction.projection)
        self.register_buffer("centroids", assignment.centroids)
        self.register_buffer("offset", -0.5 * assignment.centroids.square().sum(dim=1))  # see nearest_centroid

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        features: Tensor = self.backbone((images.float() - self.mean) / self.std)
        if not self.has_clusters:
            return features
        rows = (features - self.shift) @ self.projection if self.is_projected else features
        rows = normalize(rows, dim=1) if self.l2 else rows
        cluster = (rows @ self.centroids.T + self.offset).argmax(dim=1)
        return features, cluster, (rows - self.centroids[cluster]).norm(dim=1)


def import_onnx() -> tuple[Any, Any]:
    """The modules onnx and onnxruntime.

    Raises:
        ImportError: if the extra is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # torch.onnx needs it
    except ImportError as error:
        raise ImportError(f"evaluation.formats=[onnx] needs an extra: {install_extra('onnx')} ({error})") from error
    return onnx, onnxruntime


def to_onnx(
    backbone: Backbone, card: dict[str, Any], assignment: Assignment | None = None, pictures: Tensor | None = None
) -> tuple[bytes, float]:
    """Convert to a graph: `images` uint8 (B, C, size, size) -> `features` float32 (B, D), for any batch size B.

    With clusters also -> `cluster` int64 (B,) and `distance` float32 (B,).

    Args:
        backbone: in eval mode, on the CPU.
        card: its description (checkpoint.py), of which mean and std are read.
        assignment: the clusters; None: none.
        pictures: images to compare on, like the graph's; None: random pixels.

    Returns:
        The file's content, and the largest difference of a feature from torch's, as a share of the largest feature.

    Raises:
        ImportError: if the extra is not installed.
        ValueError: if the network cannot be converted, or the graph does not compute what torch does.
    """
    onnx, onnxruntime = import_onnx()
    for chatty in ("onnxscript", "onnx_ir"):  # of each step of their optimisers
        logging.getLogger(chatty).setLevel(logging.WARNING)
    network = PixelNetwork(backbone, card["mean"], card["std"], assignment).eval()
    outputs = OUTPUTS[: 1 if assignment is None else 3]
    try:
        program = torch.onnx.export(
            network,
            (_pixels(backbone, 2),),
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(
            f'torch cannot convert {card["arch"]["_target_"]} to ONNX ({str(error).splitlines()[0]}); leave "onnx" '
            "out of evaluation.formats"
        ) from error
    assert program is not None
    onnx.checker.check_model(program.model_proto)
    content: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    batches = [_pixels(backbone, 1), _pixels(backbone, 3)] if pictures is None else [pictures[:1], pictures]
    worst = 0.0
    for pixels in batches:  # other batch sizes than the traced one
        with torch.no_grad():
            expected = network.backbone((pixels.float() - network.mean) / network.std)
        found = [torch.from_numpy(each) for each in session.run(list(outputs), {INPUT: pixels.numpy()})]
        worst = max(worst, float((found[0] - expected).abs().max() / expected.abs().max().clamp_min(1e-12)))
        if not worst <= TOLERANCE:
            raise ValueError(
                f"the ONNX graph's features differ from torch's by {worst:.1e} of the largest, more than "
                f'{TOLERANCE:.0e}: it is not written; leave "onnx" out of evaluation.formats'
            )
        if assignment is not None:
            _check_clusters(assignment, expected, *found[1:])
    return content, worst


def _check_clusters(assignment: Assignment, features: Tensor, clusters: Tensor, distances: Tensor) -> None:
    """Refuse other clusters or distances than the assignment's, but for images between two centroids.

    Raises:
        ValueError: with the first image that differs.
    """
    _, nearest = assignment.place(features)
    rows = features if assignment.reduction is None else assignment.reduction.apply(features)
    limit = NEAR * rows.norm(dim=1).maximum(nearest)
    to_chosen = (rows - assignment.centroids[clusters]).norm(dim=1)
    wrong = ((to_chosen - nearest).abs() > limit) | ((distances - to_chosen).abs() > limit)
    if bool(wrong.any()):
        i = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"the ONNX graph puts an image into cluster {int(clusters[i])} at {float(distances[i]):.5g}, torch finds "
            f'the nearest centroid at {float(nearest[i]):.5g}: it is not written; leave "onnx" out of '
            "evaluation.formats"
        )


def _pixels(backbone: Backbone, n: int) -> Tensor:
    shape = (n, backbone.in_channels, backbone.image_size, backbone.image_size)
    return torch.randint(0, 256, shape, generator=generator("onnx", n), dtype=torch.uint8)
