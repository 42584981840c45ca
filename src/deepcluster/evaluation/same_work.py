"""Whether a half-done evaluation in a folder is the one that is asked for now: a fingerprint of what decides it."""

import hashlib
from dataclasses import asdict, replace
from typing import Any

from deepcluster.data.settings import Data
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.models.digest import weights_digest

# What changes how images are read, not which they are.
ANY_VALUE = (
    "num_workers",
    "persistent_workers",
    "in_memory",
    "memory_gb",
    "check",
    "cache_dir",
    "cache_gb",
    "on_broken",
    "timeout_s",
)


def fingerprint(context: EvaluationContext, settings: Any, *parts: object) -> str:
    """Equal for the same weights, images, settings (a dataclass), seed and parts; 32 hexadecimal digits."""
    plain = Data()
    data = replace(context.data, **{name: getattr(plain, name) for name in ANY_VALUE})
    told = (asdict(settings), asdict(data), context.card, context.seed, str(context.dtype), parts)
    return hashlib.blake2b(repr((*told, weights_digest(context.backbone))).encode(), digest_size=16).hexdigest()
