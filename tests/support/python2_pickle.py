"""A pickle module that writes as Python 2 does, for torch.save(pickle_module=...)."""

import pickle
import types
from typing import Any, ClassVar


class _Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """str as bytes (SHORT_BINSTRING); an int of more than four bytes as text (INT)."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_str(self, text: str) -> None:
        content = text.encode()
        self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) + content)
        self.memoize(text)

    def save_int(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self.save_long(value)
        else:
            self.write(pickle.INT + str(value).encode() + b"\n")

    dispatch[str] = save_str
    dispatch[int] = save_int


def _dump(value: Any, file: Any, protocol: int) -> None:
    _Pickler(file, protocol).dump(value)


PYTHON_2: Any = types.SimpleNamespace(__name__="pickle", Pickler=_Pickler, dump=_dump)
