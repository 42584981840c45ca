"""A folder of pictures, and a week later some more: assigned to a run's clusters, or learned from too."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.textures import textures
from support.typed import Typist

from deepcluster.clustering.history import read_assignments
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Folder
from deepcluster.data.sources.load import load
from deepcluster.run.follow import read_before, take_over
from deepcluster.run.parts import build_parts
from deepcluster.settings.composed import as_dataclass
from deepcluster.settings.stored import read_stored_config
from deepcluster.system.seeding import generator
from deepcluster.system.tables import read_csv
from deepcluster.training.bank_fill import fill_bank
from deepcluster.visualization.page.chunks import read_chunk

RUN = ["data=folder", "data.root=pictures", "view=plain", "view.size=20", "arch=lenet5", "reduction.dim=8"]
SHORT = ["clustering.k=4", "trainer.max_epochs=1", "reading.batch_size=8", "evaluation.enabled=false"]


@pytest.fixture(scope="module")
def typist(tmp_path_factory: pytest.TempPathFactory) -> Typist:
    """With a run on 48 pictures, those and twelve more in another folder."""
    folder = tmp_path_factory.mktemp("weeks")
    for i, grey in enumerate(textures(60, side=40)):
        for place in ("pictures", "more") if i < 48 else ("more",):
            (folder / place).mkdir(exist_ok=True)
            Image.fromarray(grey.byte().numpy()).save(folder / place / f"{i:02}.png")
    typist = Typist(folder)
    done = typist.train(*RUN, *SHORT, "output_dir=run")
    assert done.status == 0, done.err
    return typist


def test_only_what_is_new_is_assigned(typist: Typist) -> None:
    """The folder holds some of the run's pictures under other names, and twelve that it has not seen."""
    folder = typist.folder / "some"
    folder.mkdir()
    for i in range(30, 60):
        shutil.copy(typist.folder / "more" / f"{i:02}.png", folder / (f"{i:02}.png" if i >= 48 else f"again {i}.png"))
    (typist.folder / "run" / "names.csv").write_text("cluster,name\n0,rough\n1,smooth\n2,fine\n3,coarse\n")
    new = ["evaluation=assign", "data=folder", "data.root=some"]
    done = typist.eval("ckpt=run", *new, "output_dir=assigned")
    assert done.status == 0, done.err
    assert "18 were in the run and keep their clusters" in done.out and "12 new pictures" in done.out
    own = read_assignments(typist.folder / "run").of("final")
    rows = {row["sample"]: row for row in read_csv(typist.folder / "assigned" / "clusters.csv")}
    for i in range(30, 48):
        row = rows[f"again {i}.png"]
        assert int(row["cluster"]) == own[f"{i:02}.png"]
        assert (row["seen"], row["fits"], row["distance"]) == ("true", "true", "")
    unseen = [rows[f"{i:02}.png"] for i in range(48, 60)]
    assert all(row["seen"] == "false" and float(row["distance"]) > 0 for row in unseen)
    changes = list(read_csv(typist.folder / "assigned" / "changes.csv"))
    assert sum(int(row["new"]) for row in changes if row["kind"] == "grew") == 12
    assert {row["name"] for row in changes} <= {"rough", "smooth", "fine", "coarse"}
    nowhere = {row["sample"] for row in changes if row["kind"] == "fits nowhere"}
    assert nowhere == {row["sample"] for row in unseen if row["fits"] == "false"}
    again = typist.eval("ckpt=run", *new, "evaluation.again=true", "output_dir=all")
    assert again.status == 0, again.err
    assert "18 were in the run and are assigned anew" in again.out and "12 new pictures" in again.out
    clusters = {row["sample"]: row["cluster"] for row in read_csv(typist.folder / "all" / "clusters.csv")}
    assert clusters == {sample: row["cluster"] for sample, row in rows.items()}, "k-means: the nearest centroid"


def test_another_kind_of_picture_fits_nowhere(typist: Typist) -> None:
    folder = typist.folder / "noise"
    folder.mkdir()
    for i, grey in enumerate(torch.randint(0, 256, (5, 40, 40), generator=generator("noise")).byte()):
        Image.fromarray(grey.numpy()).save(folder / f"{i}.png")
    done = typist.eval("ckpt=run", "evaluation=assign", "data=folder", "data.root=noise", "output_dir=noisy")
    assert done.status == 0 and "5 of the new fit nowhere" in done.out, done.err
    assert "follows=run data.root=DIR" in done.out, "what gives them a group of their own"
    assert [row["fits"] for row in read_csv(typist.folder / "noisy" / "clusters.csv")] == ["false"] * 5


def test_a_run_goes_on_with_more_pictures(typist: Typist) -> None:
    """Pictures came, one is gone, one has another name: clusters and names stay, and what changed is told."""
    folder = typist.folder / "week2"
    shutil.copytree(typist.folder / "more", folder)
    (folder / "00.png").unlink()
    (folder / "01.png").rename(folder / "renamed.png")
    (typist.folder / "run" / "names.csv").write_text("cluster,name\n0,rough\n1,smooth\n2,fine\n3,coarse\n")
    refused = typist.train("resume=run", "data.root=week2", "trainer.max_epochs=2")
    assert refused.status == 1 and len(refused.errors) == 1, refused.err
    assert f"train.py follows={typist.folder / 'run'} data.root=week2" in refused.errors[0]
    done = typist.train("follows=run", "data.root=week2", "page=true", "output_dir=run2")
    assert done.status == 0, done.err
    assert "47 images are known, 12 are new, 1 of its 48 are gone" in done.out
    assert "12 new pictures, 1 gone" in done.out
    before, now = (read_assignments(typist.folder / run).of("final") for run in ("run", "run2"))
    assert len(now) == 59 and "00.png" not in now
    stayed = [before[f"{i:02}.png"] == now["renamed.png" if i == 1 else f"{i:02}.png"] for i in range(1, 48)]
    assert sum(stayed) > 30, "the clusters go on from the old ones"
    changes = list(read_csv(typist.folder / "run2" / "changes.csv"))
    assert [row["sample"] for row in changes if row["kind"] == "gone"] == ["00.png"]
    assert 0 < sum(int(row["new"]) for row in changes if row["new"]) <= 12  # groups of the old size are in no line
    names = {row["cluster"]: row["name"] for row in read_csv(typist.folder / "run2" / "names.csv")}
    assert names.items() <= {"0": "rough", "1": "smooth", "2": "fine", "3": "coarse"}.items() and names
    summary = json.loads((typist.folder / "run2" / "summary.json").read_text())
    assert summary["changes"]["new_pictures"] == 12
    overview = read_chunk(typist.folder / "run2" / "page" / "data", "overview")
    assert overview["names"] == names and overview["changes"]["told"] == summary["changes"]["told"]
    for name, kind in (("grown", "grew"), ("shrunk", "shrank")):
        assert overview["changes"][name] == [int(row["cluster"]) for row in changes if row["kind"] == kind]
    config = read_stored_config(typist.folder / "run2" / "config.yaml")
    assert Path(config.follows) == typist.folder / "run" and config.init.kind == "checkpoint"
    assert (typist.folder / "run" / "summary.json").is_file(), "the old run stays"


def test_a_following_run_is_resumed_as_any(typist: Typist) -> None:
    """Stopped after its first epoch and resumed it ends as one that was not stopped."""
    more = ["follows=run", "data.root=more", "page=false"]
    for words in ([*more, "trainer.max_epochs=2", "output_dir=whole"], [*more, "output_dir=parts"]):
        assert typist.train(*words).status == 0
    done = typist.train("resume=parts", "trainer.max_epochs=2")
    assert done.status == 0, done.err
    for name in ("clusters.csv", "changes.csv", "names.csv"):
        assert (typist.folder / "parts" / name).read_bytes() == (typist.folder / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["follows=nowhere"], "follows=nowhere: no run there (no config.yaml)"),
        (["follows=run", "arch=resnet18"], "the network of follows=run goes on, as it is"),
        (["follows=run", "view.size=32"], "the network of follows=run goes on, as it is"),
        (["follows=run", "resume=run"], "cannot change in a resumed run"),
        (["follows=run", "data.root=others"], "none of its 48 images is among the 12 of data.root"),
        (["follows=run", "clustering.k=1"], "clustering.k must be at least 2"),
    ],
)
def test_what_a_following_run_cannot_be_is_refused(words: list[str], said: str, typist: Typist) -> None:
    others = typist.folder / "others"
    if not others.exists():
        others.mkdir()
        for i in range(48, 60):
            shutil.copy(typist.folder / "more" / f"{i:02}.png", others / f"new {i}.png")
    runs = {path.name for path in (typist.folder / "runs").glob("*")}
    done = typist.train(*words)
    assert done.status == 1 and said in done.errors[0] and len(done.errors) == 1, done.err
    assert {path.name for path in (typist.folder / "runs").glob("*")} == runs, "no folder is left"


@pytest.mark.parametrize("k", [3, 6])
def test_a_following_run_may_have_fewer_or_more_clusters(k: int, typist: Typist) -> None:
    done = typist.train("follows=run", "data.root=more", f"clustering.k={k}", "page=false", f"output_dir=k{k}")
    assert done.status == 0, done.err
    clusters = set(read_assignments(typist.folder / f"k{k}").of("final").values())
    assert clusters == set(range(k))
    assert "new group" in done.out if k == 6 else "new group" not in done.out


def test_new_pictures_that_lie_together_get_a_cluster_of_their_own(typist: Typist) -> None:
    """Twenty white ones come: K grows by one, also for a run that is stopped and resumed; new_groups=false keeps it."""
    folder = typist.folder / "two kinds"
    shutil.copytree(typist.folder / "pictures", folder)
    for i, grey in enumerate(torch.randint(235, 256, (20, 40, 40), generator=generator("white")).byte()):
        Image.fromarray(grey.numpy()).save(folder / f"white {i}.png")
    more = ["follows=run", f"data.root={folder}", "page=false"]
    done = typist.train(*more, "trainer.max_epochs=2", "output_dir=grown")
    assert done.status == 0, done.err
    assert "of the new images lie among each other" in done.out and "K grows from 4 to 5" in done.out
    now = read_assignments(typist.folder / "grown").of("final")
    assert sum(now[f"white {i}.png"] == 4 for i in range(20)) >= 15, "the old numbers stay, the new one follows"
    assert read_stored_config(typist.folder / "grown" / "config.yaml").clustering.k == 5
    changes = list(read_csv(typist.folder / "grown" / "changes.csv"))
    assert ("4", "20") in {(row["cluster"], row["new"]) for row in changes if row["kind"] == "new group"}
    nowhere = {row["sample"] for row in changes if row["kind"] == "fits nowhere"}
    assert not {sample for sample in nowhere if now[sample] == 4}, "they have a group of their own"
    assert typist.train(*more, "output_dir=grown2").status == 0
    done = typist.train("resume=grown2", "trainer.max_epochs=2")
    assert done.status == 0, done.err
    files = [(typist.folder / run / "clusters.csv").read_bytes() for run in ("grown", "grown2")]
    assert files[0] == files[1]
    done = typist.train(*more, "new_groups=false", "output_dir=kept")
    assert done.status == 0 and "K grows" not in done.out, done.err
    assert set(read_assignments(typist.folder / "kept").of("final").values()) == set(range(4))


def test_bank_embedding_and_prototypes_are_taken_over(typist: Typist) -> None:
    """By DeepCluster-v2: the bank's rows of known pictures are the old ones, those of new ones are filled."""
    small = ["method=deepcluster_v2", "embedding.dim=8", "embedding.hidden=16", "clustering.n_labelings=1"]
    words = [*RUN[:-1], *SHORT, *small, "view.small.n=0", "extraction.batch_size=16", "files.write=never"]
    assert (done := typist.train(*words, "output_dir=v2")).status == 0, done.err
    images = load(Folder(root=str(typist.folder / "more")), Reading(cache_dir="none"), "train")
    assert images is not None
    before = read_before(str(typist.folder / "v2"), images, k=4)
    config = as_dataclass(read_stored_config(typist.folder / "v2" / "config.yaml"))
    config = replace(config, data=Folder(root=str(typist.folder / "more")))
    parts = build_parts(config)
    module = parts.module(parts.backbone)
    take_over(module, before)
    last = torch.load(typist.folder / "v2" / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in module.state_dict().items():
        if name.startswith(("embedding.", "head.")):
            assert torch.equal(value, last["state_dict"][name]), name
    other = parts.module(parts.backbone)
    drawn = {name: value.clone() for name, value in other.state_dict().items()}
    take_over(other, replace(before, is_start=True))
    assert all(torch.equal(value, drawn[name]) for name, value in other.state_dict().items()), "a network given up"
    assert module.bank is not None
    assert torch.equal(module.bank.rows[:, :48], last["method"]["bank"]["rows"])
    assert module.bank.written.tolist() == [0] * 48 + [-1] * 12
    fill_bank(module.bank, module, parts.clusterer, seed=1)
    assert module.bank.is_filled and torch.equal(module.bank.rows[:, :48], last["method"]["bank"]["rows"])
    done = typist.train("follows=v2", "data.root=more", "output_dir=v2_more")
    assert done.status == 0, done.err


def test_where_a_runs_pictures_were_moved_can_be_told(typist: Typist) -> None:
    pictures = typist.folder / "pictures"
    pictures.rename(typist.folder / "elsewhere")
    try:
        refused = typist.eval("ckpt=run", "evaluation=embed", "output_dir=embedded")
        done = typist.eval("ckpt=run", "evaluation=embed", "data.root=elsewhere", "output_dir=embedded")
    finally:
        (typist.folder / "elsewhere").rename(pictures)
    assert refused.status == 1 and "data.root=DIR says where they are now" in refused.errors[0], refused.err
    assert done.status == 0 and (typist.folder / "embedded" / "embeddings.npy").is_file(), done.err
