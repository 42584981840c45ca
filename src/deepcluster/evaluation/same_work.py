"""Whether a half-done evaluation in a folder is the one that is asked for now: a fingerprint of what decides it."""

import hashlib
from dataclasses import asdict
from typing import Any

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.digest import weights_digest


def fingerprint(context: EvaluationContext, settings: Any, *parts: object) -> str:
    """Equal for the same weights, images, settings (a dataclass), seed and parts; 32 hexadecimal digits."""
    data = context.data.told("on_broken")
    told = (asdict(settings), asdict(data), context.card, context.seed, str(context.dtype), parts)
    return hashlib.blake2b(repr((*told, weights_digest(context.backbone))).encode(), digest_size=16).hexdigest()
