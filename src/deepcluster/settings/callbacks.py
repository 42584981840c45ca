"""The group `callbacks`: Lightning callbacks by name and `_target_`, also of the user's own modules.

A target outside Lightning runs the user's own code, so it must stand on the command line or in configs/. A run's folder
may come from a stranger: a resumed run refuses such a target in its config.yaml until the user types it again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepcluster.system.targets import OWN, check_target, locate

GROUP = "callbacks"
OF_LIGHTNING = "pytorch_lightning.callbacks."


def check_callbacks(callbacks: dict[str, Any]) -> None:
    """Refuse entries that are no callbacks, and arguments that a callback does not take.

    Args:
        callbacks: name -> `_target_` and arguments; an entry of None is skipped.

    Raises:
        ValueError: naming the key.
    """
    for name, node in callbacks.items():
        if node is None:
            continue
        if not isinstance(node, dict) or OWN not in node:
            raise ValueError(f"{GROUP}.{name} needs a class: +{GROUP}.{name}.{OWN}=MODULE.CLASS, got {node}")
        check_target(node, f"{GROUP}.{name}", supplied=())


def refuse_stored_code(stored: DictConfig, overrides: Sequence[str], file: Path) -> None:
    """Refuse callbacks of a stored config that run other code than Lightning's, unless the user typed them again.

    Lightning's checkpoint callbacks are refused too: they write and delete files wherever their stored state says.

    Args:
        stored: the config of the run to resume, with what the command line changes.
        overrides: the typed overrides.
        file: the stored config.

    Raises:
        ValueError: naming the callback, and what to type.
    """
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    if GROUP in typed:
        return
    plain: Any = OmegaConf.to_container(stored, resolve=False)  # interpolations stay text, which is no target
    callbacks = plain[GROUP] or {}
    if not isinstance(callbacks, dict):
        raise ValueError(f"{file} names {GROUP}={callbacks}, which is no list of callbacks; type {GROUP}=none")
    for name, node in callbacks.items():
        key = f"{GROUP}.{name}"
        if node is None or typed & {key, f"{key}.{OWN}"}:
            continue
        target = node.get(OWN) if isinstance(node, dict) else node
        if not _is_harmless(target, key):
            raise ValueError(
                f"{file} names {key}.{OWN}={target}, and a stranger's folder runs no code: type +{key}.{OWN}={target} "
                f"again to trust it, or {GROUP}=none to go on without callbacks"
            )


def _is_harmless(target: Any, key: str) -> bool:
    if not isinstance(target, str) or not target.startswith(OF_LIGHTNING):
        return False
    from pytorch_lightning.callbacks import Checkpoint

    return not issubclass(locate(target, key), Checkpoint)
