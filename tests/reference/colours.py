"""Colour jitter, grey and blur of one image, by torchvision's own functions: the twin of data/augment.py."""

from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from deepcluster.data.augment import Parameters

_CHANGES = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)


def augmented(image: Tensor, parameters: Parameters, kernel: int) -> Tensor:
    """One image (C, H, W) in [0, 1] with the parameters of a batch of one."""
    if parameters.jittered[0]:
        for number in parameters.order[0].tolist():
            image = _CHANGES[number](image, parameters.factors[0, number].item())
    if parameters.grey[0] and image.shape[0] == 3:
        image = TF.rgb_to_grayscale(image, num_output_channels=3)
    if parameters.blurred[0]:
        image = TF.gaussian_blur(image, [kernel, kernel], [parameters.sigma[0].item()] * 2)
    return image
