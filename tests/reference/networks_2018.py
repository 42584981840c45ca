"""Plain twins of the 2018 networks, with their layout and so their names: features.0.weight, classifier.1.bias ...

Written from the 2018 code's facts. `features` and `classifier` are flat Sequentials, the classifier ends with
a ReLU, `top_layer` follows, and Sobel, if there is one, is two frozen convolutions. Widths can be made narrow, the
order and the kernels cannot.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

POOL = "M"
ALEXNET = ((96, 11, 4, 2), POOL, (256, 5, 1, 2), POOL, (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1), POOL)
VGG16 = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL)


class Network2018(nn.Module):
    """sobel -> features -> flatten -> classifier -> top_layer; None in their place leaves the last two out."""

    def __init__(
        self, features: nn.Sequential, classifier: nn.Sequential, n_hidden: int, out: int, sobel: bool
    ) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self.top_layer: nn.Linear | None = nn.Linear(n_hidden, out)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                    module.weight.normal_(0, math.sqrt(2 / fan_out))
                    module.bias.zero_()
                elif isinstance(module, nn.Linear):
                    module.weight.normal_(0, 0.01)
                    module.bias.zero_()
        self.sobel = sobel_2018() if sobel else None

    def forward(self, images: Tensor) -> Tensor:
        x = images if self.sobel is None else self.sobel(images)
        x = self.features(x)
        x = self.classifier(x.view(x.size(0), -1))
        return x if self.top_layer is None else self.top_layer(x)

    def clustered(self, images: Tensor) -> Tensor:
        """What the original clusters: no top layer, and the classifier without its last ReLU."""
        x = images if self.sobel is None else self.sobel(images)
        x = self.features(x)
        return self.classifier[:-1](x.view(x.size(0), -1))

    def after_relu(self, images: Tensor, number: int) -> Tensor:
        """What the original's probe of convolution `number` reads: right after that ReLU, before the pooling."""
        x = images if self.sobel is None else self.sobel(images)
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                number -= 1
                if number == 0:
                    return x
        raise IndexError("not so many convolutions")


def sobel_2018() -> nn.Sequential:
    grayscale = nn.Conv2d(3, 1, kernel_size=1)
    grayscale.weight.data.fill_(1 / 3)
    grayscale.bias.data.zero_()
    edges = nn.Conv2d(1, 2, kernel_size=3, padding=1)
    edges.weight.data[0, 0] = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    edges.weight.data[1, 0] = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
    edges.bias.data.zero_()
    return nn.Sequential(grayscale, edges).requires_grad_(False)


def alexnet_2018(
    sobel: bool = False,
    bn: bool = True,
    out: int = 1000,
    channels: Sequence[int] = (96, 256, 384, 384, 256),
    hidden: int = 4096,
) -> Network2018:
    """For 224x224 only: 6x6 pixels are left of it, as the original has written down."""
    layers: list[nn.Module] = []
    n_in, widths = 2 if sobel else 3, iter(channels)
    for entry in ALEXNET:
        if entry == POOL:
            layers.append(nn.MaxPool2d(3, stride=2))
            continue
        _, kernel, stride, padding = entry
        n_out = next(widths)
        layers.append(nn.Conv2d(n_in, n_out, kernel, stride, padding))
        if bn:
            layers.append(nn.BatchNorm2d(n_out))
        layers.append(nn.ReLU())
        n_in = n_out
    classifier = nn.Sequential(
        nn.Dropout(0.5),
        nn.Linear(n_in * 6 * 6, hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
    )
    return Network2018(nn.Sequential(*layers), classifier, hidden, out, sobel)


def vgg16_2018(
    sobel: bool = False, bn: bool = True, out: int = 1000, narrow: int = 1, hidden: int = 4096, side: int = 7
) -> Network2018:
    """The original has side = 7 pixels left of 224; narrow divides the numbers of filters."""
    layers: list[nn.Module] = []
    n_in = 2 if sobel else 3
    for entry in VGG16:
        if entry == POOL:
            layers.append(nn.MaxPool2d(2, stride=2))
            continue
        n_out = int(entry) // narrow
        layers.append(nn.Conv2d(n_in, n_out, 3, padding=1))
        if bn:
            layers.append(nn.BatchNorm2d(n_out))
        layers.append(nn.ReLU())
        n_in = n_out
    classifier = nn.Sequential(
        nn.Linear(n_in * side * side, hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
    )
    return Network2018(nn.Sequential(*layers), classifier, hidden, out, sobel)


@torch.no_grad()
def stir(network: nn.Module, seed: int) -> None:
    """Give every value that starts as 0 or 1 one of its own, so that a swapped or forgotten tensor is seen."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0, 0.2, generator=generator)
        elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None and module.bias.requires_grad:
            module.bias.normal_(0, 0.1, generator=generator)


@torch.no_grad()
def copy_in_order(source: nn.Module, target: nn.Module) -> int:
    """Copy the k-th convolution, BatchNorm and linear layer of one network to the k-th of the other.

    Parts that learn nothing (Sobel) are left out, and a top layer that the target has not. Returns how many were
    copied. Names play no part, so that this does not repeat what a reader of checkpoints does.
    """
    n_copied = 0
    for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
        targets = [module for module in target.modules() if isinstance(module, kind)]
        sources = [m for m in source.modules() if isinstance(m, kind) and m.weight.requires_grad]
        assert 0 <= len(sources) - len(targets) <= (kind is nn.Linear)
        for ours, theirs in zip(targets, sources, strict=False):
            ours.load_state_dict(theirs.state_dict())
        n_copied += len(targets)
    return n_copied
