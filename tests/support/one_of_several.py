"""What one of several processes does in tests/system/test_distributed.py: python one_of_several.py CASE FOLDER."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import tiny
from support.configs import CONFIGS
from support.swapped import two_swapped_losses
from support.tiny_methods import CO_TEACHING, SELA, V2

from deepcluster.app.hydra_setup import register
from deepcluster.clustering.history import read_assignments
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.pic import PIC
from deepcluster.features.bank import MemoryBank
from deepcluster.models.lenet import LeNet5
from deepcluster.run.train import train
from deepcluster.settings.train import train_config
from deepcluster.system import distributed
from deepcluster.system.seeding import generator
from deepcluster.training.bank_fill import fill_bank
from deepcluster.training.clusterer import process_ranks
from deepcluster.training.reassign import ReassignCallback
from deepcluster.training.schedule import Schedule
from deepcluster.weights import patch_filters

CPU = torch.device("cpu")


def assign(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    backbone = LeNet5(1, 16, batch_norm=True)
    if distributed.rank() == 1:  # BatchNorm's statistics differ between ranks; rank 0's must be used on both
        backbone.features[0][1].running_mean += 3
    found = {}
    for parallel in ("gather", "shares"):
        kmeans = KMeans(k=tiny.K, n_iter=5, parallel=parallel)
        clusterer = tiny.build(folder / "several", clustering=kmeans).reassign.clusterer
        found[parallel] = clusterer.assign(backbone, device=CPU, moment="epoch 0")[0].labels
    torch.save(found, folder / f"rank{distributed.rank()}.pt")


def shares(folder: Path) -> None:
    """k-means by both engines, and two steps of SwAV, on shares of the features that the test has written."""
    torch.distributed.init_process_group("gloo")
    features = torch.load(folder / "features.pt", weights_only=True)
    rank, size = distributed.rank(), distributed.world_size()
    found = {}
    for backend in ("faiss", "torch"):
        settings = KMeans(k=30, n_iter=8, backend=backend)
        rows = features[rank::size]
        fitted = settings.fit_share(rows, n_images=len(features), ranks=process_ranks(), seed=5)
        found[backend] = fitted.state_dict()
    found["swav"] = two_swapped_losses(features[:1000][rank::size])
    torch.save(found, folder / f"rank{rank}.pt")


def fail(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    run = tiny.build(folder / "two")
    clusterer, module = run.reassign.clusterer, run.module
    if distributed.rank() == 1:

        def broken_embed(crops: list[torch.Tensor]) -> torch.Tensor:
            raise ValueError("train/5 is broken")

        module.embed = broken_embed  # type: ignore[method-assign]

        def broken(images: torch.Tensor) -> torch.Tensor:
            raise ValueError("train/3 is broken")

        clusterer.view = broken  # type: ignore[assignment]
        clusterer.view.on_files = False  # type: ignore[attr-defined]
    bank = MemoryBank(len(clusterer.images), 1, module.embedding_dim)
    for work in (
        lambda: clusterer.assign(LeNet5(1, 16, batch_norm=True), device=CPU, moment="epoch 0"),
        lambda: fill_bank(bank, module, clusterer, seed=0),
    ):
        try:
            work()
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
    schedule: Schedule | None = None,
    max_epochs: int = 2,
) -> None:
    trainer: dict[str, Any] = {"strategy": "ddp", "devices": int(os.environ["WORLD_SIZE"]), "num_nodes": 1}
    run = tiny.build(
        folder,
        max_epochs=max_epochs,
        trainer=trainer,
        kill_after=kill_after,
        every_n_steps=1,
        clustering=clustering,
        schedule=schedule,
    )
    run.fit(resume=resume)
    history = read_assignments(folder)
    expected = []
    for epoch in range(max_epochs):
        labels = torch.from_numpy(history.labels[history.epochs.index(epoch)])
        draw = generator(run.reassign.seed, "sampler", epoch)
        expected.append(run.reassign.sampler.indices(labels, history.k[epoch], run.reassign.n_images_per_epoch, draw))
    epochs = sorted({epoch for epoch, *_ in run.seen.batches})
    torch.save(
        {
            "indices": {epoch: run.seen.of_epoch(epoch)[0] for epoch in epochs},
            "expected": expected,
            "head": run.module.head.linear.weight.detach(),
            "k": (run.module.head.n_active, history.k),
            "epochs": run.trainer.current_epoch,
            "weight": run.module.backbone.features[0][0].weight.detach(),
        },
        folder / f"rank{run.trainer.global_rank}.pt",
    )


def fit_method(folder: Path, settings: dict[str, Any], *, resume: bool = False) -> None:
    """Two epochs of another method; keeps what each step wrote into the bank."""
    trainer: dict[str, Any] = {"strategy": "ddp", "devices": int(os.environ["WORLD_SIZE"]), "num_nodes": 1}
    run = tiny.build(folder, max_epochs=2, trainer=trainer, **settings)
    bank = run.module.bank
    writes: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    if bank is not None:
        write = bank.write

        def write_and_keep(indices: torch.Tensor, embeddings: torch.Tensor, *, step: int) -> None:
            writes.append((step, indices.clone(), embeddings.half()))
            write(indices, embeddings, step=step)

        bank.write = write_and_keep  # type: ignore[method-assign]
    run.fit(resume=resume)
    state = run.weights()
    torch.save(
        {
            "weights": {name: v for name, v in state.items() if "running" not in name and "batches" not in name},
            "labels": [assignment.labels for assignment in run.reassign.assignments if assignment is not None],
            "epochs": run.trainer.current_epoch,
            "last_indices": run.seen.of_epoch(1)[0],
            "bank": None if bank is None else {"rows": bank.rows, "written": bank.written},
            "writes": writes,
        },
        folder / f"rank{run.trainer.global_rank}.pt",
    )


FILTERS = ["method=deepcluster", "data.limit=100", "clustering.k=5", "reduction.dim=8", "evaluation.enabled=false"]
FILTERS += ["init=kmeans_patches", "init.n_patches=1000", "trainer.max_epochs=1", "targets=co_teaching"]


def filters(folder: Path) -> None:
    """A run that begins with learned filters: how often this process learned, and its weights at the first step."""
    learn, first_hook = patch_filters.learn_from_patches, ReassignCallback.on_train_start
    kept: dict[str, Any] = {"n_learned": 0}

    def learn_and_count(*arguments: Any, **named: Any) -> str:
        kept["n_learned"] += 1
        return learn(*arguments, **named)

    def keep(self: ReassignCallback, trainer: Any, module: Any) -> None:
        networks = [module.backbone, module.peer.backbone]
        kept["weights"] = [network.features[0][0].weight.detach().clone() for network in networks]
        first_hook(self, trainer, module)

    patch_filters.learn_from_patches = learn_and_count  # type: ignore[assignment]
    ReassignCallback.on_train_start = keep  # type: ignore[method-assign]
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = train_config(
            compose("train", [*FILTERS, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"])
        )
    train(config, folder / "run")
    torch.save(kept, folder / f"rank{distributed.rank()}.pt")


if __name__ == "__main__":
    case, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    if case == "fit_killed":
        fit(folder, kill_after=(1, 1))
    elif case == "fit_pic":
        fit(folder, clustering=PIC(n_neighbours=2))
    elif case == "fit_odd":  # 95 images in each epoch
        fit(folder, schedule=Schedule(epochs=0.99))
    elif case == "fit_one":
        fit(folder, max_epochs=1)
    elif case in ("deepcluster_v2", "deepcluster_v2_resumed"):
        fit_method(folder, V2, resume=case.endswith("resumed"))
    elif case in ("sela", "co_teaching"):
        fit_method(folder, SELA if case == "sela" else CO_TEACHING)
    elif case == "fit_resumed":
        fit(folder, resume=True)
    else:
        {"assign": assign, "fail": fail, "fit": fit, "full_disk": full_disk, "shares": shares, "filters": filters}[
            case
        ](folder)
