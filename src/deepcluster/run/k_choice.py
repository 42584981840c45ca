"""clustering.k=auto: choose K before anything is trained, by a scan of the rows that the run clusters first.

K is chosen once: config.yaml, the checkpoints and all processes hold the number, so that a resumed run knows no "auto".
How: clustering/k_scan.py.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.clustering.chosen_k import SCAN_FILE, SCAN_PICTURE
from deepcluster.clustering.k_by_number import MOST_ROWS, N_RUNS
from deepcluster.clustering.k_scan import Scan, scan
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.spectral import by_graph
from deepcluster.data.images import evenly_spaced
from deepcluster.features.extraction import collect
from deepcluster.features.other_rows import OtherSource
from deepcluster.run.build_clusterer import other_rows
from deepcluster.run.parts import Parts
from deepcluster.settings.resume import what_is_learned
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import mix
from deepcluster.training.processes import TIMEOUT_KEY, TIMEOUT_MINUTES, n_processes
from deepcluster.visualization.k_scan_picture import draw_scan

WAIT_S = 0.1


def with_chosen_k(config: TrainConfig, parts: Parts, folder: Path) -> tuple[TrainConfig, Parts]:
    """Settings and parts with the number that clustering.k=auto becomes; all others as they are.

    The first process scans and writes k_scan.json and k_scan.svg; the others, which may be there before there is a
    process group, wait for the file. It is valid for the same settings and number of images.

    Args:
        parts: with the largest K that may be chosen.
        folder: the run's.

    Raises:
        TimeoutError: in another process, if the file does not come.
    """
    if not config.clustering.chooses_k:
        return config, parts
    file, of = folder / SCAN_FILE, _settings_hash(config, len(parts.images))
    found = _read(file, of)
    if not distributed.is_main_process():
        found = found or _awaited(file, of, config.trainer.get(TIMEOUT_KEY, TIMEOUT_MINUTES))
    elif found is None:
        found = _scanned(config, parts)
        write_atomically(folder / SCAN_PICTURE, draw_scan(found).encode())
        content = {"settings": of, "k": found.k, "told": found.told(), "scan": asdict(found)}
        write_atomically(file, (json.dumps(content, indent=2) + "\n").encode())
    say = parts.progress.say
    say(f"clusters   K = {found.k}, {found.told()}; clustering.k=NUMBER overrules it")
    if found.ks:
        say(f"           {folder / SCAN_PICTURE} shows how well the halves agree for each K")
    clustering = replace(config.clustering, k=found.k)  # type: ignore[call-arg]
    return replace(config, clustering=clustering), parts.with_clustering(clustering)


def _scanned(config: TrainConfig, parts: Parts) -> Scan:
    """Scan the rows of the first clusters: other rows than the network's, if there are any; else its first features."""
    clusterer, device, n = parts.clusterer, parts.device, len(parts.images)
    clustering = clusterer.labelings[0].of_features()
    assert isinstance(clustering, KMeans)
    indices = torch.tensor(evenly_spaced(n, MOST_ROWS))
    with parts.progress.bar("scan for K: rows", len(indices), "img") as advance:
        if (other := _other(config, parts)) is None:
            rows = collect(clusterer.feature_pass(parts.backbone, device=device), indices, advance)
            reduction = clusterer.reduction
        else:
            rows, reduction = collect(other(device).source, indices, advance), clusterer.other_reduction
            if clusterer.other_neighbours is not None:
                clustering = by_graph(clustering, clusterer.other_neighbours)
    rows = _reduced(rows, reduction)
    with parts.progress.bar("scan for K", 2 * N_RUNS, "half") as advance:
        return scan(rows, clustering, n=n, seed=mix(config.seed, "k scan"), device=device, advance=advance)


def _reduced(rows: Tensor, reduction: Any) -> Tensor:
    return torch.cat([reduction.fit_rows(rows).apply(part) for part in torch.split(rows, 8192)])


def _other(config: TrainConfig, parts: Parts) -> Callable[[torch.device], OtherSource] | None:
    """Makes other rows. Of several processes only this one makes them now, and later all together do: not the same."""
    if n_processes(config.trainer) == 1:
        return parts.clusterer.other
    return other_rows(config, parts.images, parts.num_workers, parts.progress)


def _settings_hash(config: TrainConfig, n_images: int) -> str:
    parts = json.dumps([what_is_learned(config), n_images], sort_keys=True, default=str)
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


def _read(file: Path, of: str) -> Scan | None:
    """The scan in a file; None if it is not there, damaged, or of other settings."""
    try:
        content = json.loads(file.read_text())
        return Scan(**content["scan"]) if content["settings"] == of else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _awaited(file: Path, of: str, minutes: float) -> Scan:
    """The scan that the first process writes."""
    end = time.monotonic() + 60 * minutes
    while (found := _read(file, of)) is None:
        if time.monotonic() > end:
            raise TimeoutError(
                f"clustering.k=auto: {file}, which the first process writes, did not come in {minutes:g} minutes; the "
                "processes of several machines need output_dir on a disk that they share, or clustering.k=NUMBER"
            )
        time.sleep(WAIT_S)
    return found
