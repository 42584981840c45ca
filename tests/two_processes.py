"""What one of two processes does in tests/test_distributed.py: python two_processes.py CASE FOLDER."""

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

import tiny

from deepcluster import distributed
from deepcluster.clustering.history import read_assignments
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.pic import PIC
from deepcluster.models.lenet import LeNet5
from deepcluster.seeding import generator

CPU = torch.device("cpu")


def assign(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    backbone = LeNet5(1, 16, batch_norm=True)
    if distributed.rank() == 1:  # BatchNorm's statistics differ between ranks; rank 0's must be used on both
        backbone.features[0][1].running_mean += 3
    assignment, _ = tiny.build(folder / "two").reassign.clusterer.assign(backbone, device=CPU, moment="epoch 0")
    torch.save(assignment.labels, folder / f"rank{distributed.rank()}.pt")


def fail(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    clusterer = tiny.build(folder / "two").reassign.clusterer
    if distributed.rank() == 1:

        def broken(images: torch.Tensor) -> torch.Tensor:
            raise ValueError("train/3 is broken")

        clusterer.view = broken  # type: ignore[assignment]
        clusterer.view.on_files = False  # type: ignore[attr-defined]
    try:
        clusterer.assign(LeNet5(1, 16, batch_norm=True), device=CPU, moment="epoch 0")
    except Exception as error:
        print(type(error).__name__, error)


def full_disk(folder: Path) -> None:
    """Rank 0 cannot write the second epoch's assignment."""
    import deepcluster.training.reassign as conductor

    write = conductor.write_assignment

    def write_or_fail(folder: Any, name: str, *rest: Any) -> None:
        if name == "epoch_00001":
            raise OSError(28, "No space left on device", f"{folder}/{name}.npz")
        write(folder, name, *rest)

    conductor.write_assignment = write_or_fail  # type: ignore[attr-defined]
    try:
        fit(folder)
    except Exception as error:
        print(type(error).__name__, error)


def fit(
    folder: Path,
    *,
    kill_after: tuple[int, int] | None = None,
    resume: bool = False,
    clustering: Clustering | None = None,
) -> None:
    trainer: dict[str, Any] = {"strategy": "ddp", "devices": 2, "num_nodes": 1}
    run = tiny.build(
        folder, max_epochs=2, trainer=trainer, kill_after=kill_after, every_n_steps=1, clustering=clustering
    )
    run.fit(resume=resume)
    history = read_assignments(folder)
    expected = []
    for epoch in (0, 1):
        labels = torch.from_numpy(history.labels[history.epochs.index(epoch)])
        draw = generator(run.reassign.seed, "sampler", epoch)
        expected.append(run.reassign.sampler.indices(labels, history.k[epoch], tiny.N_IMAGES, draw))
    epochs = sorted({epoch for epoch, *_ in run.seen.batches})
    torch.save(
        {
            "indices": {epoch: run.seen.of_epoch(epoch)[0] for epoch in epochs},
            "expected": expected,
            "head": run.module.head.linear.weight.detach(),
            "k": (run.module.head.n_active, history.k),
            "weight": run.module.backbone.features[0][0].weight.detach(),
        },
        folder / f"rank{run.trainer.global_rank}.pt",
    )


if __name__ == "__main__":
    case, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    if case == "fit_killed":
        fit(folder, kill_after=(1, 1))
    elif case == "fit_pic":
        fit(folder, clustering=PIC(n_neighbours=2))
    elif case == "fit_resumed":
        fit(folder, resume=True)
    else:
        {"assign": assign, "fail": fail, "fit": fit, "full_disk": full_disk}[case](folder)
