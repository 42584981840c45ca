"""Weights in and out of files: ours, the 2018 code's, other programs'. Start at recognise.py."""

from deepcluster.weights.fit import load_backbone

__all__ = ["load_backbone"]
