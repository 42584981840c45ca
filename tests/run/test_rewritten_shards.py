"""Assignments belong to images, not to positions: runs on sets whose shards were written again in another order."""

from pathlib import Path

import pytest
import torch
from support import shards
from support.typed import Finished, Typist

from deepcluster.clustering.history import read_assignments

pytestmark = pytest.mark.slow

N = 96
SHUFFLED = [(37 * i + 11) % N for i in range(N)]
OTHERS = [*range(N - 1), N + 5]  # one image is another
SMALL = ["arch=lenet5", "view.size=16", "clustering.k=6", "reduction.dim=8", "trainer.max_epochs=2"]
SMALL += ["evaluation.enabled=false", "reading.batch_size=16", "reading.num_workers=2", "reading.in_memory=never"]


@pytest.fixture(scope="module")
def typist(tmp_path_factory: pytest.TempPathFactory) -> Typist:
    return Typist(tmp_path_factory.mktemp("typed"))


@pytest.fixture(scope="module", params=["huggingface", "litdata"])
def run(request: pytest.FixtureRequest, typist: Typist) -> tuple[str, Path]:
    """Three sets, and an uninterrupted run on the first: source and folder."""
    source: str = request.param
    folder = typist.folder / source
    folder.mkdir()
    for name, order, size in (("sorted", list(range(N)), 30), ("shuffled", SHUFFLED, 7), ("others", OTHERS, 30)):
        if source == "huggingface":
            shards.huggingface(order, folder / name, n_shards=-(-N // size), paths=False)
        else:
            shards.litdata(shards.records(order), folder / name, chunk_size=size)
    done = typist.train(f"data={source}", f"data.root={folder / 'sorted'}", *SMALL, f"output_dir={folder / 'whole'}")
    assert done.status == 0, done.err
    return source, folder


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, assignments and each image's cluster, bit for bit."""
    weights, expected = (torch.load(f / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for f in (one, other))
    assert not [name for name in expected if not torch.equal(weights[name], expected[name])]
    history, before = read_assignments(one), read_assignments(other)
    assert history.names == before.names == ["epoch_00000", "epoch_00001", "final"]
    assert all(history.of(name) == before.of(name) for name in history.names)
    assert (one / "clusters.csv").read_bytes() == (other / "clusters.csv").read_bytes()


def test_the_same_images_in_other_shards_are_the_same_run(typist: Typist, run: tuple[str, Path]) -> None:
    source, folder = run
    again = [f"data={source}", f"data.root={folder / 'shuffled'}", f"output_dir={folder / 'again'}"]
    done = typist.train(*again, *SMALL)
    assert done.status == 0, done.err
    assert_same_run(folder / "again", folder / "whole")


def test_a_run_goes_on_exactly_after_its_shards_were_written_again(typist: Typist, run: tuple[str, Path]) -> None:
    source, folder = run
    arguments = [f"data={source}", f"data.root={folder / 'sorted'}", *SMALL, "checkpoint.every_n_steps=2"]
    killed = typist.train(*arguments, f"output_dir={folder / 'killed'}", kill=["step", 1, 3])
    assert killed.status == -9 and (folder / "killed/checkpoints/last.ckpt").is_file(), killed.err
    refused = typist.train(f"resume={folder / 'killed'}", f"data.root={folder / 'others'}")
    assert_refused(refused, "the images are not those of", "number ", " was ", "follows=")
    done = typist.train(f"resume={folder / 'killed'}", f"data.root={folder / 'shuffled'}")
    assert done.status == 0 and "resuming " in done.out, done.err
    assert_same_run(folder / "killed", folder / "whole")


def test_each_image_is_given_its_own_cluster_again(typist: Typist, run: tuple[str, Path]) -> None:
    source, folder = run
    images = [f"data={source}", f"data.root={folder / 'shuffled'}", "view.size=16"]
    done = typist.eval(
        f"ckpt={folder / 'whole'}", "evaluation=assign", *images[:2], f"output_dir={folder / 'assigned'}"
    )
    assert done.status == 0, done.err
    own, again = (clusters(folder / name) for name in ("whole", "assigned"))
    assert list(again.items()) == list(own.items())
    others = [f"data={source}", f"data.root={folder / 'others'}", f"output_dir={folder / 'of_others'}"]
    assert typist.eval(f"ckpt={folder / 'whole'}", "evaluation=assign", *others).status == 0
    before, now = (clusters(folder / name) for name in ("whole", "of_others"))
    assert len(now) == N and len(before.keys() & now.keys()) == N - 1  # the other image does not move the rest
    assert all(before[sample] == now[sample] for sample in before.keys() & now.keys())


def clusters(folder: Path) -> dict[str, str]:
    lines = [line.split(",") for line in (folder / "clusters.csv").read_text().splitlines()[1:]]
    return {line[0]: line[1] for line in lines}


def test_tables_in_their_own_order_cannot_change_it(typist: Typist) -> None:
    """data=parquet keeps the files' order, in which runs were begun; a new order is refused, as long as paths tell."""
    for name, order in (("sorted", list(range(N))), ("shuffled", SHUFFLED)):
        (typist.folder / "tables" / name).mkdir(parents=True)
        shards.huggingface(order).to_parquet(typist.folder / "tables" / name / "train.parquet")
    run = typist.folder / "tables" / "run"
    root = typist.folder / "tables"
    done = typist.train("data=parquet", f"data.root={root / 'sorted'}", *SMALL, f"output_dir={run}")
    assert done.status == 0, done.err
    refused = typist.train(f"resume={run}", f"data.root={root / 'shuffled'}", "trainer.max_epochs=3")
    assert_refused(refused, "number 0 was '000.png' and is '011.png'", "A new run goes on from this one")


def assert_refused(done: Finished, *named: str) -> None:
    assert done.status == 1 and len(done.errors) == 1 and "Traceback" not in done.err, done.err
    assert not [name for name in named if name not in done.err], done.err
