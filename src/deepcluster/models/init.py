"""Random initial weights as in the 2018 code, for the networks that we define. Next: stages.py."""

import math

from torch import nn

LINEAR_STD = 0.01


def he_fan_out(network: nn.Module) -> None:
    """Draw all weights from torch's global generator, as the original's `_initialize_weights`.

    Convolutions N(0, 2 / (kernel area x output channels)), linear layers N(0, 0.01^2), biases 0,
    BatchNorm 1 and 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, LINEAR_STD)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
