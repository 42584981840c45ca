"""The group `callbacks`: Lightning callbacks by name and `_target_`, also of the user's own modules.

A target outside Lightning is the user's own code, so only the user names it: on the command line or in configs/. A
run's folder may come from a stranger, so a resumed run refuses what its config.yaml names until it is typed again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepcluster.system.targets import OWN, check_target, locate

GROUP = "callbacks"
OF_LIGHTNING = "pytorch_lightning.callbacks."


def check_callbacks(callbacks: dict[str, Any]) -> None:
    """Refuse what is no callback, and arguments that it does not take.

    Args:
        callbacks: name -> `_target_` and arguments; null: none of that name.

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

    Lightning's own that keep checkpoints are refused too: they write, and delete, wherever their state says.

    Args:
        stored: the config of the run to resume, with what the command line changes.
        overrides: what was typed.
        file: where the config was stored.

    Raises:
        ValueError: naming the callback, and what to type.
    """
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    if GROUP in typed:
        return
    named: Any = OmegaConf.to_container(stored, resolve=False)  # an interpolation is a string here: no target of ours
    callbacks = named[GROUP]
    for name, node in callbacks.items() if isinstance(callbacks, dict) else [("", callbacks)]:
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
