"""The network of an ONNX file as a backbone: features as they are, computed by onnxruntime. Next: head.py.

What a file holds is found out in weights/onnx_start.py.
"""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepcluster.models.backbone import Backbone

POOLS = ("mean", "first")
TYPES = {  # of onnxruntime -> numpy's, that images can be given in
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
CHANNELS = (1, 2, 3, 4)  # by which the axis of channels is told from height and width

Array = NDArray[Any]


class OnnxSession:
    """An ONNX file of a network that takes images, ready to run.

    Attributes:
        channels, height, width: of its images; None: any.
        batch: images that it takes at a time; None: any number.
        dtype: of its images; uint8 are pixels, 0 to 255.
        channels_last: its images are (B, H, W, C), and so are the maps that it gives.
        outputs: the names of its outputs.

    Args:
        content: the bytes of the file, which needs no other files beside it.
        output: what is read, an output or a tensor inside; None: all outputs.
        on_gpu: run on a GPU, if onnxruntime can.

    Raises:
        ImportError: if onnxruntime is missing.
        ValueError: if it cannot run the file, or the file does not take images.
    """

    def __init__(self, content: bytes, output: str | None = None, *, on_gpu: bool = False) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("arch=onnx needs onnxruntime: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # no warnings
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"][0 if on_gpu else 1 :]
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]

        def opened(content: bytes) -> Any:
            try:
                return onnxruntime.InferenceSession(content, options, providers=providers)
            except Exception as error:  # its errors have no class of their own
                raise ValueError(f"onnxruntime cannot run it ({_first_line(error)})") from error

        self._session = opened(content)
        self.outputs = [one.name for one in self._session.get_outputs()]
        self._read = self.outputs if output is None else [output]
        if output is not None and output not in self.outputs:
            self._session = opened(_with_output(content, output, self.outputs))
        self._read_input()

    def _read_input(self) -> None:
        inputs = self._session.get_inputs()
        told = ", ".join(f"{one.name} {one.shape} {one.type}" for one in inputs)
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
            raise ValueError(f"a network of images takes one batch of them (B, C, H, W), it takes {told or 'nothing'}")
        self.input, self.dtype = inputs[0].name, TYPES[inputs[0].type]
        self.batch, *sides = (side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape)
        self.channels_last = sides[2] in CHANNELS and sides[0] not in CHANNELS
        self.height, self.width = sides[:2] if self.channels_last else sides[1:]
        self.channels = sides[2 if self.channels_last else 0]

    def run(self, images: Array) -> list[Array]:
        """What is read, of images (B, C, H, W) float32: pixels of 0 to 255 where `dtype` is uint8, else normalised.

        Raises:
            ValueError: if the network does not take images of this size.
        """
        if self.dtype == np.uint8:
            images = np.rint(images).clip(0, 255)
        if self.channels_last:
            images = images.transpose(0, 2, 3, 1)
        images, size = np.ascontiguousarray(images, self.dtype), self.batch or len(images)
        parts = [self._run(images[start : start + size], size) for start in range(0, len(images), size)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, images: Array, size: int) -> list[Array]:
        """Of at most `size` images: as many as the network takes at a time, the missing ones are black."""
        n = len(images)
        if n < size:
            images = np.concatenate([images, np.zeros((size - n, *images.shape[1:]), images.dtype)])
        try:
            found = self._session.run(self._read, {self.input: images})
        except Exception as error:
            raise ValueError(f"the ONNX network fails on images {images.shape} ({_first_line(error)})") from error
        arrays = [np.atleast_1d(one) for one in found]
        return [one[:n] if len(one) == size else one for one in arrays]

    def features(self, found: Array, pool: str) -> Array:
        """Features (B, D) float32 of an output: (B, D) itself, tokens (B, T, D) or maps pooled.

        Args:
            found: the output.
            pool: "mean" of tokens or of the pixels of maps; "first": the first token.

        Raises:
            ValueError: if it cannot be pooled so.
        """
        if pool not in POOLS:
            raise ValueError(f"arch.pool must be one of {', '.join(POOLS)}, got {pool}")
        if pool == "first" and found.ndim != 3:
            raise ValueError(f"arch.pool=first takes the first of tokens (B, T, D), the output is {found.shape}")
        if found.ndim == 3:
            found = found[:, 0] if pool == "first" else found.mean(axis=1, dtype=np.float32)
        elif found.ndim == 4:
            found = found.mean(axis=(1, 2) if self.channels_last else (2, 3), dtype=np.float32)
        return found.astype(np.float32, copy=False)


class OnnxGraph(nn.Module):
    """Images (B, C, H, W) -> features (B, D) float32.

    The file's bytes are a buffer, so that checkpoints hold the network, wherever the file has gone.
    """

    content: Tensor

    def __init__(self, n_bytes: int, output: str | None, pool: str) -> None:
        super().__init__()
        self.register_buffer("content", torch.zeros(max(0, n_bytes), dtype=torch.uint8))
        self.output, self.pool = output, pool
        self._opened: tuple[int, OnnxSession] | None = None

    def extra_repr(self) -> str:
        return f"output={self.output}, pool={self.pool}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # a session can be neither copied nor sent to another process

    def forward(self, images: Tensor) -> Tensor:
        session = self._session()
        (found,) = session.run(images.detach().float().cpu().numpy())
        return torch.from_numpy(session.features(found, self.pool)).to(images.device)

    def _load_from_state_dict(self, *args: Any) -> None:
        self._opened = None
        super()._load_from_state_dict(*args)

    def _session(self) -> OnnxSession:
        place = self.content.data_ptr()  # another one where it was moved to another device
        if self._opened is None or self._opened[0] != place:
            content = self.content.cpu().numpy().tobytes()
            self._opened = place, OnnxSession(content, self.output, on_gpu=self.content.is_cuda)
        return self._opened[1]


class OnnxNetwork(Backbone):
    """The network of an ONNX file. It computes nothing before the file's bytes are loaded, and is never trained.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images.
        n_bytes: of the file; init=weights finds it, and feature_dim.
        feature_dim: D.
        output: what is read: an output, or a tensor inside; null: the first output of features (B, D), else the first
            of tokens or maps.
        pool: of tokens (B, T, D) or maps (B, C, H, W): "mean"; "first": the first token.
    """

    needs_float32 = True  # the file says in what it computes
    needs_weights = True

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 224,
        n_bytes: int = 0,
        feature_dim: int = 1,
        output: str | None = None,
        pool: str = "mean",
    ) -> None:
        super().__init__(
            features=nn.Sequential(),
            neck=nn.Sequential(OrderedDict(onnx=OnnxGraph(n_bytes, output, pool))),
            feature_dim=feature_dim,
            stages=[],
            in_channels=in_channels,
            image_size=image_size,
            sobel=False,
        )
        self.told = f"{output} of an ONNX file, as it is"

    @property
    def content(self) -> bytes:
        """The file's."""
        graph = self.neck.onnx
        assert isinstance(graph, OnnxGraph)
        return graph.content.cpu().numpy().tobytes()

    def convolutional(self, images: Tensor) -> Tensor:
        """The features: there are no maps."""
        features: Tensor = self(images)
        return features


def _with_output(content: bytes, name: str, outputs: list[str]) -> bytes:
    """The network that gives a tensor inside it.

    Raises:
        ImportError: if onnx is missing.
        ValueError: if there is no such tensor.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"arch.output={name} is a tensor inside the network: pip install onnx") from error
    model = onnx.load_from_string(content)
    if not any(name in node.output for node in model.graph.node):
        raise ValueError(f"arch.output={name}: it has no such tensor; its outputs are {', '.join(outputs)}")
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    return bytes(model.SerializeToString())


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
