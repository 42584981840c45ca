"""Weights in and out of files: ours, the 2018 code's, other programs'. Start at recognise.py."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepcluster.weights.network import load_backbone

__all__ = ["load_backbone"]


def __getattr__(name: str) -> Any:
    """`load_backbone` is imported when it is asked for: settings of this room are read without torch."""
    if name != "load_backbone":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepcluster.weights.network import load_backbone

    return load_backbone
