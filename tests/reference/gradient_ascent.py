"""The 2018 code's gradient ascent for one image, in its plain steps (REFERENCE: visu/gradient_ascent.py)."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor


def ascent(
    answer: Callable[[Tensor], Tensor], image: Tensor, channel: int, *, lr: float, wd: float, n_steps: int, every: int
) -> Tensor:
    """From image (C, S, S): x += lr g / |g|, then a blur of sigma .3 in steps 0, every, 2 every ..."""
    x = image
    for step in range(n_steps):
        x = x.detach().requires_grad_(True)
        answers = answer(x[None])[0]
        objective = -torch.nn.CrossEntropyLoss()(answers[None], torch.tensor([channel])) - wd * torch.norm(x) ** 2
        objective.backward()
        assert x.grad is not None
        x = x.detach() + lr * x.grad / torch.norm(x.grad)
        if step % every == 0:
            pixels = x.permute(1, 2, 0).numpy()
            x = torch.from_numpy(np.ascontiguousarray(gaussian_filter(pixels, sigma=(0.3, 0.3, 0)))).permute(2, 0, 1)
    return x
