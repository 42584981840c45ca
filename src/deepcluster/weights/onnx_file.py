"""A backbone as an ONNX graph, whose features are compared with torch's. evaluation/export.py writes it."""

from typing import Any

import torch
from torch import Tensor, nn

from deepcluster.models.backbone import Backbone
from deepcluster.system.seeding import generator

TOLERANCE = 1e-4  # of the largest feature; float32 sums in another order differ by about 1e-6


class OfPixels(nn.Module):
    """Pixels (B, C, H, W) uint8 -> features (B, D) float32: normalisation, then the backbone.

    The graph begins with pixels, so that they are always normalised as in training.
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


def library() -> tuple[Any, Any]:
    """onnx's checker and onnxruntime.

    Raises:
        ImportError: if the extra is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # which torch.onnx writes with
    except ImportError as error:
        raise ImportError(f"evaluation.formats=[onnx] needs an extra: pip install -e '.[onnx]' ({error})") from error
    return onnx, onnxruntime


def to_onnx(backbone: Backbone, card: dict[str, Any]) -> tuple[bytes, float]:
    """The graph: input `images` uint8 (batch, C, size, size), output `features` float32 (batch, D), any batch.

    Args:
        backbone: in eval mode, on the CPU.
        card: with mean and std.

    Returns:
        The file's content, and the largest difference from torch, as a share of the largest feature.

    Raises:
        ImportError: if the extra is not installed.
        ValueError: if the graph does not compute what torch does.
    """
    onnx, onnxruntime = library()
    network = OfPixels(backbone, card["mean"], card["std"]).eval()
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
    for n in (1, 3):  # not the number it was traced with
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
