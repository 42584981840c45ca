"""Read and write files of weights: ours, those of the 2018 code and of other programs. Start at recognise.py."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepcluster.weights.network import load_backbone

__all__ = ["load_backbone"]


def __getattr__(name: str) -> Any:
    """Import `load_backbone` at its first use, because settings of this room are read without importing torch."""
    if name != "load_backbone":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepcluster.weights.network import load_backbone

    return load_backbone
