"""From where on a positive number is unusually large among others: odd.py and reach.py take their limits from here."""

from statistics import NormalDist

import torch
from torch import Tensor

DEVIATIONS = 3.0  # 1 in 700 of a normal distribution is higher; of photographs' scores 1 to 2 in 100


def upper_limit(values: Tensor) -> float:
    """The median and three standard deviations of logarithms.

    The deviation is what the lower quartile tells, so that large values, up to half of all, do not move it.

    Args:
        values: (N,) above 0, N at least 1.
    """
    logs = values.double().log()
    median, quartile = float(logs.median()), float(logs.quantile(0.25))
    deviation = (median - quartile) / NormalDist().inv_cdf(0.75)
    return float(torch.tensor(median + DEVIATIONS * deviation).exp())
