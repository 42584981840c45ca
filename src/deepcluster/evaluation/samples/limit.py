"""From where on a positive number is unusually large among others: odd.py and reach.py take their limits from here."""

import math
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
    place = 0.25 * (len(logs) - 1)  # of the quartile, between two values; torch 2.5 refuses quantile of more than 2**24
    below, above = (float(logs.kthvalue(1 + number).values) for number in (math.floor(place), math.ceil(place)))
    median, quartile = float(logs.median()), below + (place % 1) * (above - below)
    deviation = (median - quartile) / NormalDist().inv_cdf(0.75)
    return float(torch.tensor(median + DEVIATIONS * deviation).exp())
