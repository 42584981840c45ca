"""DeepCluster: learn visual features without labels by clustering them. Start reading at train.py."""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Before torch loads its OpenMP: threads that wait for each other spin shortly and then sleep. On a quiet machine
# that costs nothing (2,106 against 2,031 images/s, LeNet5 on 2 cores); where others use the cores too, spinning
# threads rob each other (366 against 137).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> Any:
    """DeepCluster of app/estimator.py, loaded with torch when it is first asked for."""
    if name == "DeepCluster":
        return importlib.import_module("deepcluster.app.estimator").DeepCluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
