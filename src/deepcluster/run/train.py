"""One run, from settings to summary.json: choose, assemble, fit, finish.

The steps: images and network (parts.py) -> the checkpoint to resume from, if any (checkpoint_choice.py) -> estimate of
memory, disk and time (estimate.py) -> K, if it is to be chosen (k_choice.py) or grows (new_groups.py) -> figures of the
untrained network (untrained.py) -> training, whose epochs begin with a reassignment (training/reassign.py) -> final
clusters, figures of what needs no training (baselines.py) and files (summary.py). The command of train.py
(app/train_command.py) calls `train`.
"""

import json
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.collapse import tell_collapse
from deepcluster.clustering.history import (
    CONTENTS,
    FOLDER,
    SAMPLES,
    changed_images,
    check_samples,
    same_samples,
    write_contents,
    write_samples,
)
from deepcluster.data.contents import tell_copies
from deepcluster.data.images import ImageSet
from deepcluster.data.settings import Source
from deepcluster.evaluation.clusters.clustered_images import rows_for
from deepcluster.evaluation.clusters.clusters_file import write_clusters
from deepcluster.models.backbone import Backbone
from deepcluster.run.assemble import Assembled, assemble, open_record
from deepcluster.run.baselines import baseline_figures
from deepcluster.run.better import go_back, store_start, tell_uncompared
from deepcluster.run.checkpoint_choice import ThisRun, checkpoints, choose_checkpoint, put_aside
from deepcluster.run.estimate import check_memory, tell_needs
from deepcluster.run.follow import Before, read_before, take_over, tell_changes
from deepcluster.run.k_choice import with_chosen_k
from deepcluster.run.new_groups import with_new_groups
from deepcluster.run.next_commands import next_commands
from deepcluster.run.page import wants_page, write_page
from deepcluster.run.parts import Parts, build_parts, choose_device
from deepcluster.run.plan import plan_of
from deepcluster.run.sample_files import write_sample_files
from deepcluster.run.summary import figures_table, print_summary, run_summary
from deepcluster.run.untrained import UNTRAINED, measure_untrained, measures_untrained, stored_figures
from deepcluster.settings.resume import what_is_learned
from deepcluster.settings.stored import write_config
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.atomic import write_atomically
from deepcluster.system.quoting import argument
from deepcluster.system.words import command
from deepcluster.training.checkpointing import AtomicCheckpointIO
from deepcluster.training.processes import check_start, n_processes
from deepcluster.weights import checkpoint
from deepcluster.weights.checkpoint import Checkpoint


@dataclass(kw_only=True)
class Start:
    """What a run starts from.

    Args:
        stored: the checkpoint to resume from; None: the run is new.
        untrained: figures of the untrained network, measured before the resume; None: not measured yet.
        before: the run that this one follows; None: it follows none.
    """

    stored: Checkpoint | None = None
    untrained: dict[str, float] | None = None
    before: Before | None = None

    @property
    def epochs_done(self) -> int:
        """Epochs trained before the resume."""
        return 0 if self.stored is None else self.stored.epoch


def train(
    config: TrainConfig,
    folder: Path,
    *,
    follow: Callable[[Any], None] | None = None,
    shared: Path | None = None,
    searched: str | None = None,
) -> dict[str, Any]:
    """Run DeepCluster in `folder`, from the start or from the folder's last checkpoint.

    Args:
        follow: called with the processes that Lightning has started, to watch over them.
        shared: folder for files that the jobs of a sweep share; None: nothing is shared.
        searched: the number by which a search chooses, one of OBJECTIVES; None: there is no search.

    Returns:
        The content of summary.json; empty after estimate=true, and in all processes but the main one.

    Raises:
        ValueError: if a setting, the data or a checkpoint does not fit; FileNotFoundError if data is missing.
    """
    started = time.perf_counter()
    silence_libraries()
    parts, start = choose(config, folder, shared)
    if searched is not None:
        check_measured(searched, parts.images.labels)
    tell_estimate(config, parts, folder, start.epochs_done)
    if config.estimate:
        return {}
    config, parts = with_chosen_k(config, parts, folder)
    if start.before is not None:
        config, parts, before = with_new_groups(config, parts, folder, start.before)
        start = replace(start, before=before)
    with open_record(config, parts, folder) as record:
        run = assemble(config, parts, folder, record, learned=learned_settings(config, parts), follow=follow)
        untrained = fit(config, parts, folder, start, run)
        return finish(config, parts, folder, run, untrained, started, shared, start.before)


def choose(config: TrainConfig, folder: Path, shared: Path | None) -> tuple[Parts, Start]:
    """Build the parts, and choose the start: the folder's newest good checkpoint, or none if the run is new.

    Raises:
        ValueError: if the folder holds another run, or its checkpoints do not fit this one.
    """
    if config.resume is None and distributed.is_main_process() and (folder / "config.yaml").is_file():
        raise ValueError(
            f"{folder} already holds a run; continue it with {argument('resume', folder)}, or choose another output_dir"
        )
    is_named = config.output_dir is not None or config.resume is not None
    check_start(config.trainer, choose_device(config.trainer), folder_is_named=is_named)
    max_epochs, resumes = config.trainer["max_epochs"], bool(checkpoints(folder))
    figures = stored_figures(folder / UNTRAINED) if resumes else None
    measures_again = resumes and figures is None and measures_untrained(config.evaluation, max_epochs)
    # A resumed run takes its weights from the checkpoint; initial weights are needed only if they are measured again.
    parts = build_parts(
        config,
        initialise=not resumes or measures_again,
        folder=folder,
        reuse=not resumes,
        shared=shared,
        before_learning=lambda parts, n_bytes: check_memory(plan_of(config, parts, learning_bytes=n_bytes), folder),
    )
    say = parts.progress.say
    for line in parts.describe(config.data.source, config.reading.batch_size, n_processes(config.trainer)):
        say(line)
    if (uncompared := tell_uncompared(config)) is not None:
        say(uncompared)
    before = None
    if config.follows is not None:
        before = read_before(config.follows, parts.images, k=config.clustering.capacity(len(parts.images)))
        say(before.describe())
        if config.optimizer.warmup_epochs and max_epochs:
            say(
                f"rate       optimizer.lr={config.optimizer.lr:g} after optimizer.warmup_epochs="
                f"{config.optimizer.warmup_epochs:g}, so that the network does not lose what it knows"
            )
    if not resumes:
        if config.resume is not None:
            say(f"{folder} has no checkpoint yet: beginning again")
        return parts, Start(before=before)
    check_images(folder, parts.images, config.data)
    check_contents(folder, parts.images)
    this_run = ThisRun(
        card=parts.card,
        settings=learned_settings(config, parts),
        n_images=len(parts.images),
        capacity=config.clustering.capacity(len(parts.images)),
        k_is_fixed=config.clustering.k_is_fixed,
    )
    stored = choose_checkpoint(folder, this_run, say)
    if max_epochs < stored.epoch:
        raise ValueError(
            f"trainer.max_epochs={max_epochs} is less than the {stored.epoch} epochs that "
            f"{folder} has trained; raise it, or leave it out"
        )
    say(f"resuming {'in' if stored.in_epoch else 'after'} epoch {stored.epoch} from {stored.path}")
    return parts, Start(stored=stored, untrained=figures, before=before)


def learned_settings(config: TrainConfig, parts: Parts) -> dict[str, Any]:
    """The settings that a resumed run cannot change, by their full names, with what "auto" has become."""
    return {**what_is_learned(config), "extraction.store_dtype": parts.clusterer.storage.dtype_name}


def check_images(folder: Path, images: ImageSet, data: Source) -> None:
    """Refuse to resume a run on more, fewer or other images.

    Raises:
        ValueError: naming the first that differs, and the command that goes on with them.
    """
    if not (folder / FOLDER / SAMPLES).is_file() or same_samples(folder, images.samples):
        return
    try:
        check_samples(folder / FOLDER, images.samples)
    except ValueError as error:
        to_follow = command("more", folder, data.root or "DIR")
        raise ValueError(f"{error}. A new run goes on from this one with these images: {to_follow}") from error


def check_contents(folder: Path, images: ImageSet) -> None:
    """Refuse to resume a run on images that were replaced by others of the same names: its pseudo-labels fit the old.

    Raises:
        ValueError: naming the first of them.
    """
    if images.contents is None or not same_samples(folder, images.samples):  # a run without a list of names
        return
    if changed := changed_images(folder, images.contents.numpy()):
        raise ValueError(
            f"{len(changed):,} of {len(images.contents):,} images hold something else than when the run in {folder} "
            f"clustered them, the first is {images.samples[changed[0]]!r}; put the old ones back (data.root=DIR if "
            f"they lie elsewhere), or start a new run, with init=checkpoint {argument('init.path', folder)} to begin "
            "from these weights"
        )


def check_measured(objective: str, labels: Tensor | None) -> None:
    """Refuse a search by a number that needs labels, where there are none.

    Args:
        labels: (N,) of the training images, -1 for those without one.

    Raises:
        ValueError: naming the number that needs none.
    """
    if objective != "nmi_previous" and (labels is None or not bool((labels >= 0).any())):
        raise ValueError(
            f"objective={objective} needs labels, and these images have none; objective=nmi_previous needs none (how "
            "equal the last two assignments are)"
        )


def tell_estimate(config: TrainConfig, parts: Parts, folder: Path, epochs_done: int) -> None:
    """Print what the run will need, and refuse it if memory or disk is too small; in the main process only."""
    if not distributed.is_main_process():
        return
    tell_needs(plan_of(config, parts, epochs_done), folder, is_asked=config.estimate)


def fit(config: TrainConfig, parts: Parts, folder: Path, start: Start, run: Assembled) -> dict[str, float]:
    """Measure the untrained network, then train. From here on the folder holds a run.

    Returns:
        The untrained network's figures; empty if they are switched off, and in all processes but the main one.
    """
    untrained, max_epochs = start.untrained or {}, config.trainer["max_epochs"]
    if distributed.is_main_process():
        write_samples(folder / FOLDER, parts.images.samples)
        is_known = start.stored is not None and (folder / FOLDER / CONTENTS).is_file()
        if parts.images.contents is not None and not is_known:
            write_contents(folder / FOLDER, parts.images.contents.numpy())
        write_config(config, folder, store_dtype=parts.clusterer.storage.dtype_name)
        if start.stored is not None:
            put_aside(folder, start.stored.path)
        if not untrained and measures_untrained(config.evaluation, max_epochs):
            file = folder / UNTRAINED
            untrained, baseline = measure_untrained(run.probes, parts.clusterer, parts.backbone, parts.device, file)
            run.conductor.compare_with(baseline)
            if start.stored is None:
                store_start(config, folder, parts)
    if start.before is not None:
        run.conductor.go_on_from(start.before.assignments)
        if start.stored is None:
            take_over(run.module, start.before)
    if max_epochs > 0:
        path = None if start.stored is None else str(start.stored.path)
        run.trainer.fit(run.module, datamodule=run.batches, ckpt_path=path, weights_only=True)
    return untrained


def finish(
    config: TrainConfig,
    parts: Parts,
    folder: Path,
    run: Assembled,
    untrained: dict[str, float],
    started: float,
    shared: Path | None,
    before: Before | None,
) -> dict[str, Any]:
    """Cluster once more, measure the trained network, write summary.json and the other files, print a summary.

    Args:
        untrained: figures of the untrained network.
        started: time.perf_counter() at the start of this process's run.
        shared: see :func:`train`.
        before: the run that this one follows; None: it follows none.

    Returns:
        The content of summary.json; empty in all processes but the main one.
    """
    device, epochs, backbone = run.trainer.strategy.root_device, run.trainer.current_epoch, run.module.backbone
    assignment, trained = run.conductor.final(backbone, device=device)
    if config.evaluation.enabled and distributed.is_main_process():
        parts.progress.say("measuring the trained network")
        trained = trained | run.probes.measure(backbone, device)
    is_start = go_back(config, folder, parts, untrained=untrained, trained=trained)
    if is_start:
        assignment, _ = run.conductor.final(backbone, device=device)
    if not distributed.is_main_process():
        return {}
    begun = time.perf_counter()
    baselines = baseline_figures(config, parts, run.probes, folder, device=parts.device, shared=shared)
    baselines_s = time.perf_counter() - begun
    file, n_trained = folder / "checkpoints" / "final.ckpt", 0 if is_start else epochs
    save_final(file, backbone, parts.card, run.conductor.assignments, epochs=n_trained)
    summary = run_summary(
        run.conductor,
        assignment,
        trained=trained,
        untrained=untrained,
        baselines=baselines,
        baselines_s=baselines_s,
        is_pretrained=config.init.names_weights,
        is_start=is_start,
        n_test_images=n_labelled(parts.test_images),
        epochs=epochs,
        this_process_s=time.perf_counter() - started,
    )
    summary["alike"] = [
        sentence for sentence in (tell_copies(parts.images.contents), tell_collapse(assignment)) if sentence
    ]
    is_of_sweep, rows = shared is not None, None
    if config.files.are_written(config.data.source):
        if wants_page(config, len(parts.images), is_of_sweep=is_of_sweep):
            rows = rows_for(len(parts.images), assignment, folder)
        summary["files"] = write_sample_files(config, parts, folder, backbone, assignment, device=device, rows_to=rows)
    else:
        write_clusters(folder / "clusters.csv", parts.images, assignment.labels)
    if before is not None:
        changes = tell_changes(before, folder, parts.images, assignment)
        summary["changes"] = {**changes.numbers(), "told": changes.lines()}
    write_atomically(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    measured = {"final": trained, "untrained": untrained, **baselines}
    numbers = {f"{who}/{name}": value for who, figures in measured.items() for name, value in figures.items()}
    run.record.ended(epochs, assignment, numbers, figures_table(summary))
    print_summary(
        summary,
        folder,
        source=config.data.source,
        clustering=config.clustering,
        commands=next_commands(
            folder,
            data=config.data,
            clustering=config.clustering,
            max_epochs=config.trainer["max_epochs"],
            schedule=config.optimizer.schedule,
        ),
        is_measured=config.evaluation.enabled,
    )
    write_page(config, parts, folder, rows=rows, is_of_sweep=is_of_sweep)
    return summary


def n_labelled(images: ImageSet | None) -> int:
    """How many images have a label."""
    return 0 if images is None or images.labels is None else int((images.labels >= 0).sum())


def save_final(
    file: Path, backbone: Backbone, card: dict[str, Any], labelings: Sequence[Assignment | None], *, epochs: int
) -> None:
    """Write final.ckpt: the trained backbone and the clusters found with it, to use on new images."""
    first, *others = [assignment.state_dict() for assignment in labelings if assignment is not None]
    content = {
        checkpoint.CARD: card,
        "epoch": epochs - 1,
        "state_dict": {f"backbone.{name}": value.cpu() for name, value in backbone.state_dict().items()},
        "callbacks": {"final": {"assignment": first, **({"other_labelings": others} if others else {})}},
    }
    AtomicCheckpointIO().save_checkpoint(content, file)


def silence_libraries() -> None:
    """Hide banners and hints of Lightning and faiss."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "faiss.loader"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", category=FutureWarning)
