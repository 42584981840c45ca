"""Convert a backbone to an ONNX graph and compare its features with torch's. Next: evaluation/export_files.py."""

from typing import Any

import torch
from torch import Tensor, nn

from deepcluster.models.backbone import Backbone
from deepcluster.system.extras import install_extra
from deepcluster.system.seeding import generator

TOLERANCE = 1e-4  # of the largest feature; float32 sums in another order differ by about 1e-6


class PixelNetwork(nn.Module):
    """Pixels (B, C, H, W) uint8 -> features (B, D) float32: normalisation, then the backbone.

    Normalisation is part of the graph, so that it is always that of training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", 255 * torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone((images.float() - self.mean) / self.std)
        return features


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


def to_onnx(backbone: Backbone, card: dict[str, Any]) -> tuple[bytes, float]:
    """Convert to a graph: `images` uint8 (B, C, size, size) -> `features` float32 (B, D), for any batch size B.

    Args:
        backbone: in eval mode, on the CPU.
        card: its description (checkpoint.py), of which mean and std are read.

    Returns:
        The file's content, and the largest difference from torch, as a share of the largest feature.

    Raises:
        ImportError: if the extra is not installed.
        ValueError: if the graph does not compute what torch does.
    """
    onnx, onnxruntime = import_onnx()
    network = PixelNetwork(backbone, card["mean"], card["std"]).eval()
    pixels = _pixels(backbone, 2)
    program = torch.onnx.export(
        network,
        (pixels,),
        input_names=["images"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    onnx.checker.check_model(program.model_proto)
    content: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for n in (1, 3):  # other batch sizes than the traced one
        pixels = _pixels(backbone, n)
        with torch.no_grad():
            expected = network(pixels)
        features = torch.from_numpy(session.run(None, {"images": pixels.numpy()})[0])
        worst = max(worst, float((features - expected).abs().max() / expected.abs().max().clamp_min(1e-12)))
    if not worst <= TOLERANCE:
        raise ValueError(
            f"the ONNX graph's features differ from torch's by {worst:.1e} of the largest, more than {TOLERANCE:.0e}: "
            'it is not written; leave "onnx" out of evaluation.formats'
        )
    return content, worst


def _pixels(backbone: Backbone, n: int) -> Tensor:
    shape = (n, backbone.in_channels, backbone.image_size, backbone.image_size)
    return torch.randint(0, 256, shape, generator=generator("onnx", n), dtype=torch.uint8)
