"""N strings that are made when they are asked for: paths and identities of millions of images, kept compactly."""

from collections.abc import Sequence
from typing import Any, overload

from torch import Tensor


class LazyStrings(Sequence[str]):
    """Behaves as a list of strings. A subclass gives `at`, `__len__` and a fast `__iter__`."""

    def at(self, i: int) -> str:
        """String i."""
        raise NotImplementedError

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        return [self.at(j) for j in range(*i.indices(len(self)))] if isinstance(i, slice) else self.at(i)

    def take(self, chosen: Tensor) -> Sequence[str]:
        """Those at these places (n,) int64."""
        return [self.at(i) for i in chosen.tolist()]

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]
