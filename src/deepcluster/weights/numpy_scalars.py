"""Read numpy scalars in files of weights as Python numbers, without numpy's own unpickling.

Training scripts of 2018 often saved accuracies and epochs as numpy scalars. numpy's own functions would also rebuild
records and objects from a stranger's bytes; these two accept single numbers only.
"""

import pickle
import re
from typing import Any

import numpy as np


class Dtype:
    """Replaces numpy.dtype: the type of one number, such as "i8", and its byte order."""

    def __init__(self, name: Any = None, *flags: Any) -> None:
        text = name.decode("latin1") if isinstance(name, bytes) else name
        if not isinstance(text, str) or re.fullmatch(r"b1|[iu][1248]|f[248]", text) is None:
            raise pickle.UnpicklingError(f"a numpy value of type {text} is not a number")
        self.name, self.order = text, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if isinstance(state, tuple) and state[1:2] in ((">",), (b">",)) else "<"


def scalar(dtype: Any = None, content: Any = b"", *rest: Any) -> bool | int | float:
    """Replaces numpy's function of the same name.

    Raises:
        pickle.UnpicklingError: if it is not a number, or its bytes do not fit its type.
    """
    content = content.encode("latin1") if isinstance(content, str) else content  # Python 2's bytes, as latin1
    if not isinstance(dtype, Dtype) or not isinstance(content, bytes) or len(content) != int(dtype.name[1]):
        raise pickle.UnpicklingError("a numpy value that is not a number")
    number: bool | int | float = np.frombuffer(content, f"{dtype.order}{dtype.name}")[0].item()
    return number


# For torch.serialization.safe_globals: what is called, and for which name in a pickle.
GLOBALS: list[Any] = [
    (Dtype, "numpy.dtype"),
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),  # numpy 2
]
