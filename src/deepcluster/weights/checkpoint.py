"""Read our checkpoints without a Trainer: the network, its description, and the clusters. Next: recognise.py."""

import inspect
import io
import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import find_damage
from deepcluster.system.targets import locate
from deepcluster.weights import numpy_scalars, python2_integers
from deepcluster.weights.files import find_checkpoint

CARD = "deepcluster"  # key of the network's description in a checkpoint
SETTINGS = "settings"  # key of the settings that a resumed run cannot change


class Labeling(NamedTuple):
    """One of several clusterings of the same images, and the rows of its head: weight (K, D) and bias (K,)."""

    assignment: Assignment | None
    head: tuple[Tensor, Tensor] | None


@dataclass(kw_only=True)
class Checkpoint:
    """The content of a checkpoint that train.py wrote.

    Args:
        path: the file.
        card: the network's description: arch (the config group), in_channels, image_size, mean, std, resize.
        backbone: the backbone's state dict.
        assignment: the last assignment with its reduction; None if there is none yet.
        capacity: the most clusters that its head has room for; None without a head.
        epoch: epochs trained, the one in which the checkpoint stands included.
        in_epoch: whether that epoch has steps to go.
        head: the head's rows in use, weight (K, D) and bias (K,); None in final.ckpt, which holds none.
        is_resumable: whether it holds the optimizer's state, as a last.ckpt does and a final.ckpt does not.
        others: the labelings after the first.
        settings: full name -> value, of its run's settings that a resumed run cannot change; None if it has none.
    """

    path: Path
    card: dict[str, Any]
    backbone: dict[str, Tensor]
    assignment: Assignment | None
    capacity: int | None
    epoch: int
    head: tuple[Tensor, Tensor] | None = None
    settings: dict[str, Any] | None = None
    is_resumable: bool = False
    others: list[Labeling] = field(default_factory=list)
    in_epoch: bool = False


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a checkpoint that train.py wrote.

    Args:
        path: a run's folder, or the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or train.py did not write it.
    """
    file = find_checkpoint(path)
    content = read_torch_file(file)
    if not is_checkpoint(content):
        raise ValueError(f"{file} is not a checkpoint of deepcluster: it has no '{CARD}' entry")
    return to_checkpoint(content, file)


def read_torch_file(file: Path) -> Any:
    """Load a file of torch.save, of any program. Only tensors and plain values are read, so no code of the file runs.

    If the file has checksums, they are compared first. numpy's numbers become Python's.

    Raises:
        ValueError: if the file is damaged, or holds more than tensors and plain values.
    """
    if (why := find_damage(file)) is not None:
        raise ValueError(f"{file} is cut short or damaged ({why})")
    try:
        try:
            return _load_plain(file)
        except pickle.UnpicklingError:
            rewritten = python2_integers.with_integers_in_bytes(file)
            if rewritten is None:
                raise
            return _load_plain(rewritten)
    except pickle.UnpicklingError as error:  # torch's own message advises weights_only=False
        raise ValueError(f"{file} holds more than tensors and plain values, or is damaged: it is not loaded") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes raise AssertionError, IndexError, struct.error ...
        if isinstance(error, OSError) and error.filename is not None:
            raise  # an error of the disk: errors of torch's reader have no file name
        lines = str(error).splitlines() or ["it ends too early"]
        raise ValueError(f"{file} is cut short or damaged ({lines[0]})") from error


def _load_plain(file: Any) -> Any:
    """Load a file, a path or an open one, without running code of it."""
    with warnings.catch_warnings(), torch.serialization.safe_globals(numpy_scalars.GLOBALS):
        warnings.filterwarnings("ignore", message="pickle_load_args")  # it says that encoding has no effect; it has
        # latin1: each byte that Python 2 wrote is one character, and names are ASCII
        return torch.load(file, map_location="cpu", weights_only=True, encoding="latin1")


def is_checkpoint(content: Any) -> bool:
    """Whether train.py wrote the file with this content."""
    return isinstance(content, dict) and {CARD, "callbacks", "state_dict", "epoch"} <= content.keys()


def to_checkpoint(content: dict[str, Any], file: Path) -> Checkpoint:
    """Turn the content of a file (:func:`read_torch_file`) for which :func:`is_checkpoint` is true into a Checkpoint.

    Raises:
        ValueError: if its entries are not of the kinds that train.py writes: somebody changed the file.
    """
    try:
        return _to_checkpoint(content, file)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise ValueError(f"{file} was changed: its entries are not those that train.py writes ({error!r})") from error


def _to_checkpoint(content: dict[str, Any], file: Path) -> Checkpoint:
    state, card = content["state_dict"], content[CARD]
    steps = content.get("loops", {}).get("fit_loop", {}).get("epoch_loop.batch_progress", {})  # Lightning's
    dict.keys(card["arch"])  # raises TypeError if it is no dict
    callbacks = content["callbacks"].values()
    clusters: dict[str, Any] = next((one for one in callbacks if "assignment" in one), {"assignment": None})
    prefix, capacity = "backbone.", None
    if "head.linear.weight" in state:
        capacity = len(state["head.linear.bias"])
    return Checkpoint(
        path=file,
        card=card,
        backbone={k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)},
        assignment=_assignment(clusters["assignment"]),
        capacity=capacity,
        epoch=int(content["epoch"]) + 1,
        head=_head(state, "head"),
        settings=content.get(SETTINGS),
        is_resumable="optimizer_states" in content,
        in_epoch=not steps.get("is_last_batch", True),
        others=[
            Labeling(_assignment(stored), _head(state, f"head.others.{h}"))
            for h, stored in enumerate(clusters.get("other_labelings", []))
        ],
    )


def _assignment(stored: dict[str, Any] | None) -> Assignment | None:
    return None if stored is None else Assignment.from_state_dict(stored)


def _head(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor] | None:
    """The rows in use of a linear head, weight (K, D) and bias (K,); None if there is none of that name."""
    if f"{name}.linear.weight" not in state:
        return None
    weight, bias = state[f"{name}.linear.weight"], state[f"{name}.linear.bias"]
    k = int(state.get(f"{name}._extra_state", len(bias)))
    return weight[:k], bias[:k]


def backbone_checkpoint(backbone: Backbone, card: dict[str, Any], *, epochs: int, extra: dict[str, Any]) -> bytes:
    """A checkpoint file of a backbone alone, without clusters or head; eval.py and init=checkpoint can read it.

    Args:
        card: the backbone's description, see :class:`Checkpoint`.
        epochs: the number of epochs it was trained.
        extra: further entries; only tensors and plain values.

    Returns:
        The file's content.
    """
    content = {
        CARD: card,
        "callbacks": {},
        "state_dict": {f"backbone.{name}": value.detach().cpu() for name, value in backbone.state_dict().items()},
        "epoch": epochs - 1,
        **extra,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def check_same_clusters(stored: Checkpoint, capacity: int, *, k_is_fixed: bool) -> None:
    """Refuse to resume from a checkpoint with a number of clusters that this run cannot have.

    Args:
        capacity: the most clusters that this run's head has room for.
        k_is_fixed: whether all assignments of this run have exactly `capacity` clusters.

    Raises:
        ValueError: naming both numbers.
    """
    way_out = "put the run's own checkpoint back, or start a new run"
    k = capacity if stored.assignment is None else stored.assignment.n_outputs
    if k_is_fixed and k != capacity:
        raise ValueError(f"{stored.path} holds {k} clusters, this run has clustering.k={capacity}; {way_out}")
    if not k_is_fixed and (k > capacity or stored.capacity not in (None, capacity)):
        raise ValueError(
            f"{stored.path} holds {k} clusters with room for {stored.capacity or k}, this run's "
            f"clustering.max_k has room for {capacity}; {way_out}"
        )


def check_same_run(stored: Checkpoint, settings: dict[str, Any]) -> None:
    """Refuse the checkpoint of a run with other settings.

    Args:
        settings: of this run, see :class:`Checkpoint`. Only settings that both have are compared.

    Raises:
        ValueError: naming what differs.
    """
    for key in (stored.settings or {}).keys() & settings.keys():
        assert stored.settings is not None
        if stored.settings[key] != settings[key]:
            raise ValueError(
                f"{stored.path} is of another run: its {key} is {stored.settings[key]}, this run's is {settings[key]}; "
                "put the run's own checkpoint back, or start a new run"
            )


def check_same_network(stored: dict[str, Any], card: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint of another architecture.

    Raises:
        ValueError: naming what differs.
    """
    for key in ("arch", "in_channels", "image_size"):
        here, there = card[key], stored.get(key)
        if there != here and not (key == "arch" and there and _are_same(there, here)):
            raise ValueError(
                f"{path} holds another network: its {key} is {there}, this run's is {here}; "
                "set the same arch and view.size, or use another checkpoint"
            )


def _are_same(there: dict[str, Any], here: dict[str, Any]) -> bool:
    """Whether two groups `arch` say the same; keys that one lacks, as a file older than they, have their defaults."""
    if there.get("_target_") != here["_target_"]:
        return False
    parameters = inspect.signature(locate(here["_target_"], "arch")).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return {**defaults, **there} == {**defaults, **here}
