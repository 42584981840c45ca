"""clustering.k=auto: choose K before anything is trained, by a scan of the rows that the run clusters first.

K is chosen once: config.yaml, the checkpoints and all processes hold the number, so that a resumed run knows no "auto".
How: clustering/k_scan.py.
"""

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
from deepcluster.run.first_process import found_by_first
from deepcluster.run.parts import Parts
from deepcluster.settings.resume import what_is_learned
from deepcluster.settings.train import TrainConfig
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import mix
from deepcluster.training.processes import TIMEOUT_KEY, TIMEOUT_MINUTES, n_processes
from deepcluster.visualization.k_scan_picture import draw_scan


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

    def find() -> dict[str, Any]:
        found = _scanned(config, parts)
        write_atomically(folder / SCAN_PICTURE, draw_scan(found).encode())
        return {"k": found.k, "told": found.told(), "scan": asdict(found)}

    content = found_by_first(
        folder / SCAN_FILE,
        [what_is_learned(config), len(parts.images)],
        find,
        minutes=config.trainer.get(TIMEOUT_KEY, TIMEOUT_MINUTES),
        setting="clustering.k=auto",
        instead="clustering.k=NUMBER",
    )
    found = Scan(**content["scan"])
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
    return other_rows(config, parts.images, parts.num_workers, parts.progress)[0]
