"""The files that main.py of 2018 leaves in --exp, from a finished run of ours: checkpoint.pth.tar and clusters."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepcluster.clustering.history import AssignmentHistory, read_assignments
from deepcluster.settings.stored import read_stored_config
from deepcluster.system.atomic import write_atomically
from deepcluster.weights.checkpoint import load_checkpoint, read_torch_file
from deepcluster.weights.network import build_backbone
from deepcluster.weights.recognise import read_weights
from deepcluster.weights.released import bytes_2018, check_readable_2018, content_2018

CHECKPOINT, CLUSTERS = "checkpoint.pth.tar", "clusters"
OF_SGD = ("lr", "momentum", "dampening", "weight_decay", "nesterov")  # what torch's SGD of 2018 keeps of a group
PYTHON_2 = 2  # the protocol that Python 2 reads


def write_2018(run: Path) -> Iterator[tuple[Path, str]]:
    """Write both files into the folder of a run.

    Yields:
        Each file, and what it holds in words.

    Raises:
        FileNotFoundError: if the run has no checkpoint or no assignments.
        ValueError: if they are damaged, or the 2018 code has no such network.
    """
    last = run / "checkpoints" / "last.ckpt"
    stored = load_checkpoint(last)
    backbone = build_backbone(stored.card, weights=read_weights(last))
    content = content_2018(backbone, check_readable_2018(backbone, stored.card), epoch=stored.epoch, head=stored.head)
    content["optimizer"] = optimizer_2018(read_torch_file(last)["optimizer_states"][0])
    write_atomically(run / CHECKPOINT, bytes_2018(content))
    yield run / CHECKPOINT, f"as main.py saves it: {content['arch']}, epoch {stored.epoch}, with its optimizer"
    config = read_stored_config(run / "config.yaml")
    lists = clusters_2018(read_assignments(run), n_lists=int(config.clustering.get("k") or 0))
    write_atomically(run / CLUSTERS, pickle.dumps(lists, protocol=PYTHON_2))
    yield run / CLUSTERS, f"images_lists of {len(lists)} clusterings; an image's number is its place in ImageFolder"


def optimizer_2018(state: dict[str, Any]) -> dict[str, Any]:
    """The state of the 2018 code's backbone optimizer, from that of ours: the first group, without the head's.

    Its weights are those of the convolutions, then of fc6 and fc7, in both.
    """
    group = state["param_groups"][0]
    momenta = {number: state["state"].get(number, {}).get("momentum_buffer") for number in group["params"]}
    return {
        "state": {
            number: {"momentum_buffer": momentum.cpu().contiguous()}
            for number, momentum in momenta.items()
            if momentum is not None  # with --momentum 0 there is none
        },
        "param_groups": [{**{name: group[name] for name in OF_SGD}, "params": list(group["params"])}],
    }


def clusters_2018(history: AssignmentHistory, *, n_lists: int) -> list[list[list[int]]]:
    """Of each epoch the list of clusters, each the list of its images' numbers in torchvision's ImageFolder.

    Args:
        n_lists: K of k-means, whose empty clusters are empty lists; 0: as many as there are clusters.
    """
    places = image_folder_places(history.samples)
    epochs = []
    for name, labels, k in zip(history.names, history.labels, history.k, strict=True):
        if name.startswith("epoch_"):  # not the final clusters, which main.py does not compute
            by_place = np.empty(len(labels), dtype=np.int64)
            by_place[places] = labels
            epochs.append([np.flatnonzero(by_place == cluster).tolist() for cluster in range(max(k, n_lists))])
    return epochs


def image_folder_places(samples: Sequence[str]) -> list[int]:
    """The place of each image in ImageFolder: by class folder, then by folder, then by name.

    Args:
        samples: paths below the folder of the class folders, or below that of train/.
    """
    parts = [sample.split("/") for sample in samples]
    n_above = 1 if parts and all(one[0] == "train" and len(one) > 2 for one in parts) else 0
    keys = [(one[n_above], "/".join(one[:-1]), one[-1]) for one in parts]
    places = [0] * len(keys)
    for place, image in enumerate(sorted(range(len(keys)), key=keys.__getitem__)):
        places[image] = place
    return places
