"""Pixels and patches of a run: measured once, kept in its folder, shared by the jobs of a sweep. Next: summary.py."""

import contextlib
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path

import torch

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.baselines import Baselines, Figures, Measured, run_clusters
from deepcluster.features.reuse import same_images
from deepcluster.run.parts import Parts
from deepcluster.run.untrained import Probes
from deepcluster.settings.train import TrainConfig
from deepcluster.system.atomic import write_atomically

BASELINES = "baselines.json"  # in the run's folder


def baseline_figures(
    config: TrainConfig, parts: Parts, probes: Probes, folder: Path, *, device: torch.device, shared: Path | None
) -> Figures:
    """The figures of pixels and patches: those in the run's folder, else those of another job, else measured ones.

    Args:
        shared: folder for files that the jobs of a sweep share; None: nothing is shared.
    """
    if not config.evaluation.measures_baselines:
        return {}
    file = folder / BASELINES
    if (figures := stored_baselines(file)) is not None:
        return figures
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        measured = _shared(config, parts, probes, device, shared)
        figures = measured.figures
        if parts.images.labels is not None:
            clusters = run_clusters(
                measured,
                parts.images.labels,
                clustering=parts.clusterer.labelings[0].of_features(),
                reduction=config.reduction,
                nmi_average=config.evaluation.nmi_average,
                seed=config.seed,
                device=device,
            )
            figures = {name: {**numbers, **clusters.get(name, {})} for name, numbers in figures.items()}
    write_atomically(file, json.dumps(figures, indent=2).encode())
    return figures


def stored_baselines(file: Path) -> Figures | None:
    """The figures in `file`; None if it is missing or damaged: they must be measured again."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    is_whole = isinstance(content, dict) and all(
        isinstance(figures, dict) and all(isinstance(value, int | float) for value in figures.values())
        for figures in content.values()
    )
    return content if is_whole else None


def _shared(config: TrainConfig, parts: Parts, probes: Probes, device: torch.device, shared: Path | None) -> Measured:
    """What another job of the sweep has measured, else measure, and leave it to the others if there is room."""
    file = None if shared is None else shared / f"baselines-{_key(config, parts.images, probes)}.pt"
    say = parts.progress.say
    if file is not None and file.is_file():
        # a damaged file of any kind: they are measured again
        with contextlib.suppress(Exception):
            stored = torch.load(file, map_location="cpu", weights_only=True)
            columns = {name: slice(*ends) for name, ends in stored["columns"].items()}
            measured = Measured(figures=stored["figures"], columns=columns, rows=stored["rows"])
            say("baselines  another job of this sweep has measured pixels and patches")
            return measured
    say("measuring pixels and patches")
    measured = Baselines(
        images=parts.images,
        split=probes.split,
        view=parts.clusterer.view,
        crop=probes.crop,
        mean=parts.card["mean"],
        std=parts.card["std"],
        k=probes.k,
        settings=config.evaluation,
        seed=config.seed,
        batch_size=config.extraction.batch_size,
        num_workers=parts.num_workers,
        device=device,
    ).measure()
    if file is not None:
        _leave(file, measured, limit=config.extraction.reuse_mb * 2**20)
    return measured


def _key(config: TrainConfig, images: ImageSet, probes: Probes) -> str:
    """A hash of what the shared figures depend on: images, seed and how they are measured; no network, no K.

    Without labels K decides about the clusters of two crops.
    """
    seen = same_images(config.data, config.reading, config.view, images)
    evaluation = {**asdict(config.evaluation), "untrained": None}
    parts = (seen, config.seed, evaluation, None if probes.split is not None else probes.k)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _leave(file: Path, measured: Measured, *, limit: int) -> None:
    """Write a file for other jobs, whole or not at all, if all files there stay below `limit` bytes."""
    used = sum(other.stat().st_size for other in file.parent.glob("*.pt"))
    if measured.rows is not None and used + measured.rows.nbytes > limit:
        return
    columns = {name: (part.start, part.stop) for name, part in measured.columns.items()}
    content = io.BytesIO()
    torch.save({"figures": measured.figures, "columns": columns, "rows": measured.rows}, content)
    with contextlib.suppress(OSError):  # a full disk: the run goes on without the file
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content.getvalue())
