"""data=huggingface: what is found in a set, the order its images get, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from reference.pictures import picture
from support import shards
from support.images_of import Settings, images_of

from deepcluster.data.decode import decode
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.loader import feature_batches
from deepcluster.data.sources.load import load
from deepcluster.data.sources.rows import RowImages
from deepcluster.data.view_settings import View
from deepcluster.data.views import feature_view

datasets = pytest.importorskip("datasets")
N = 20
SHUFFLED = [7, 3, 19, 0, 11, 4, 15, 8, 2, 17, 13, 1, 9, 16, 5, 12, 18, 10, 6, 14]


@pytest.fixture(autouse=True)
def library_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    datasets.disable_progress_bars()


def settings(root: Path, **more: Any) -> Settings:
    return images_of("huggingface", root=str(root), **{"cache_dir": "none", **more})


def read(root: Path, split: str = "train", **more: Any) -> ImageSet:
    images = load(*settings(root, **more), split)
    assert images is not None
    return images


def pixels(numbers: list[int]) -> torch.Tensor:
    return torch.stack([decode(shards.png(number), 3) for number in numbers])


def assert_same(a: ImageSet, b: ImageSet) -> None:
    assert list(a.samples) == list(b.samples) and len(a) == len(b)
    assert all(torch.equal(a.read(i), b.read(i)) for i in range(len(a)))
    assert a.labels is not None and b.labels is not None and torch.equal(a.labels, b.labels)


def test_images_labels_and_names_are_found(tmp_path: Path) -> None:
    shards.huggingface(SHUFFLED, tmp_path / "set", n_shards=3)
    images = read(tmp_path / "set")
    assert isinstance(images, MemoryImages) and torch.equal(images.images, pixels(list(range(N))))
    assert list(images.samples) == [f"{i:03}.png" for i in range(N)] and images.classes == ["x", "y", "z"]
    assert images.labels is not None and images.labels.tolist() == [shards.label_of(i) for i in range(N)]
    assert load(*settings(tmp_path / "set"), "test") is None


@pytest.mark.parametrize("ids", ["path", "content", "column"])
@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_the_same_images_in_other_shards_are_the_same_set(tmp_path: Path, ids: str, in_memory: str) -> None:
    for name, order, n_shards in (("a", list(range(N)), 1), ("b", SHUFFLED, 4)):
        keys = {"key": [f"no. {i}" for i in order]} if ids == "column" else {}
        shards.huggingface(order, tmp_path / name, n_shards=n_shards, paths=ids == "path", **keys)
    a, b = (
        read(tmp_path / name, in_memory=in_memory, id="key" if ids == "column" else None, limit=13) for name in "ab"
    )
    assert isinstance(a, MemoryImages if in_memory == "always" else RowImages)
    assert_same(a, b)


def test_a_limit_keeps_images_labels_and_names_together(tmp_path: Path) -> None:
    shards.huggingface(SHUFFLED, tmp_path / "set", n_shards=3)
    images = read(tmp_path / "set", in_memory="never", limit=4)
    assert isinstance(images, RowImages) and images.labels is not None
    numbers = [int(name.removesuffix(".png")) for name in images.samples]
    assert numbers != list(range(4))
    assert torch.equal(torch.stack([images.read(i) for i in range(4)]), pixels(numbers))
    assert images.labels.tolist() == [shards.label_of(number) for number in numbers]


def test_paths_that_repeat_tell_nothing_apart(tmp_path: Path) -> None:
    made = shards.huggingface([0, 1, 1, 2])
    made.save_to_disk(str(tmp_path / "set"))
    images = read(tmp_path / "set")
    assert [len(name) for name in images.samples].count(32) == 3  # hashes; and the image that is there twice
    assert sorted(name[32:] for name in images.samples) == ["", "", "", "#2"]
    with pytest.raises(ValueError, match=r"data.id=path"):
        read(tmp_path / "set", id="path")


def test_hashes_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards.huggingface(range(5), tmp_path / "set", paths=False)
    first = read(tmp_path / "set", cache_dir=str(tmp_path / "cache"), in_memory="never", check="none")
    monkeypatch.setattr("deepcluster.data.sources.arrow_identities.content_identity", None)
    again = read(tmp_path / "set", cache_dir=str(tmp_path / "cache"), in_memory="never", check="none")
    assert list(again.samples) == list(first.samples)


def test_positions_are_used_only_when_asked_for(tmp_path: Path) -> None:
    shards.huggingface(SHUFFLED, tmp_path / "set")
    images = read(tmp_path / "set", id="position")
    assert list(images.samples) == [f"train/{i}" for i in range(N)]
    assert torch.equal(images.read(0), pixels([SHUFFLED[0]])[0])


def test_a_selection_of_a_set_is_read_through_its_own_order(tmp_path: Path) -> None:
    chosen = shards.huggingface(range(N)).select([5, 2, 9])  # rows of the table are not rows of the set
    datasets.DatasetDict({"train": chosen, "validation": chosen.select([1])}).save_to_disk(str(tmp_path / "set"))
    assert torch.equal(torch.stack([read(tmp_path / "set").read(i) for i in range(3)]), pixels([2, 5, 9]))
    assert list(read(tmp_path / "set", "test").samples) == ["002.png"]


def test_a_folder_of_parquet_files_has_splits(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    shards.huggingface(SHUFFLED[:15]).to_parquet(tmp_path / "set" / "train-00000-of-00001.parquet")
    shards.huggingface(SHUFFLED[15:]).to_parquet(tmp_path / "set" / "test-00000-of-00001.parquet")
    assert list(read(tmp_path / "set").samples) == sorted(f"{i:03}.png" for i in SHUFFLED[:15])
    assert list(read(tmp_path / "set", "test").samples) == sorted(f"{i:03}.png" for i in SHUFFLED[15:])
    swapped = read(tmp_path / "set", train_split="test", test_split="train")
    assert len(swapped) == 5
    with pytest.raises(ValueError, match=r"data.train_split=dev: .* has the splits train, test"):
        read(tmp_path / "set", train_split="dev")


def test_a_folder_of_image_files_is_told_apart_by_paths_below_it(tmp_path: Path) -> None:
    for place in ("here", "moved"):
        for i in range(6):
            file = tmp_path / place / "train" / "xy"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(i, 16, 16).save(file)
    here, moved = read(tmp_path / "here"), read(tmp_path / "moved")
    assert list(here.samples) == ["train/x/0.png", "train/x/2.png", "train/x/4.png"] + [
        f"train/y/{i}.png" for i in (1, 3, 5)
    ]
    assert_same(here, moved)
    assert here.classes == ["x", "y"] and here.labels is not None and here.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_labels_may_be_missing_or_text(tmp_path: Path) -> None:
    shards.huggingface(range(4), tmp_path / "none", label=None)
    assert read(tmp_path / "none").labels is None
    shards.huggingface(range(4), tmp_path / "minus", label=[-1, -1, -1, -1])
    assert read(tmp_path / "minus").labels is None
    shards.huggingface(range(4), tmp_path / "some", label=[3, None, 1, -1])
    labels = read(tmp_path / "some").labels
    assert labels is not None and labels.tolist() == [3, -1, 1, -1]
    both = {
        "train": shards.huggingface([0, 1, 2], label=["dog", None, "ant"]),
        "test": shards.huggingface([3], label=["cat"]),
    }
    datasets.DatasetDict(both).save_to_disk(str(tmp_path / "text"))
    train, test = read(tmp_path / "text"), read(tmp_path / "text", "test")
    assert train.classes == test.classes == ["ant", "cat", "dog"]
    assert train.labels is not None and train.labels.tolist() == [2, -1, 0]
    assert test.labels is not None and test.labels.tolist() == [1]
    assert read(tmp_path / "text", labels="none").labels is None


def test_columns_that_cannot_be_told_are_listed(tmp_path: Path) -> None:
    made = shards.huggingface(range(4), second=[{"bytes": shards.png(i + 9), "path": None} for i in range(4)])
    made = made.cast_column("second", datasets.Image()).add_column("fine", [0, 1, 0, 1])
    made = made.cast_column("fine", datasets.ClassLabel(names=["p", "q"]))
    made.save_to_disk(str(tmp_path / "set"))
    root = tmp_path / "set"
    listed = r"image \(Image\), label \(ClassLabel\), second \(Image\), fine \(ClassLabel\)"
    with pytest.raises(ValueError, match=listed + ".*data.image_column=NAME"):
        read(root)
    with pytest.raises(ValueError, match=listed + ".*data.label_column=NAME"):
        read(root, image_column="second")
    images = read(root, image_column="second", label_column="fine")
    assert images.classes == ["p", "q"] and {tuple(images.read(i).flatten().tolist()) for i in range(4)} == {
        tuple(row.flatten().tolist()) for row in pixels([9, 10, 11, 12])
    }
    for key, value in (("image_column", "picture"), ("label_column", "lable"), ("image_column", "label")):
        with pytest.raises(ValueError, match=f"data.{key}={value}.*second"):
            read(root, **{"image_column": "image", "label_column": "label", key: value})
    with pytest.raises(ValueError, match=r"data.id=fine: '0' is there several times"):
        read(root, image_column="image", label_column="fine", id="fine")
    with pytest.raises(ValueError, match=r"data.id=number is none of path, content, position and the columns"):
        read(root, image_column="image", label_column="fine", id="number")


def test_a_column_of_bytes_serves_where_nothing_says_image(tmp_path: Path) -> None:
    made = datasets.Dataset.from_dict({"jpg": [shards.png(i) for i in range(3)], "n": [4, 5, 6]})
    made.save_to_disk(str(tmp_path / "set"))
    images = read(tmp_path / "set", id="n")
    assert list(images.samples) == ["4", "5", "6"] and torch.equal(images.read(2), pixels([2])[0])


def test_broken_and_missing_images_are_named(tmp_path: Path) -> None:
    made = shards.huggingface(range(3))
    rows = [*made.cast_column("image", datasets.Image(decode=False))["image"], None]
    rows[1] = {"bytes": b"no image", "path": "001.png"}
    spoilt = datasets.Dataset.from_dict({"image": rows}).cast_column("image", datasets.Image(decode=False))
    spoilt.cast_column("image", datasets.Image()).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(ValueError, match=r"(?s)2 of 4 images of data.root=.*cannot be decoded.*on_broken=skip"):
        read(tmp_path / "set")
    for in_memory in ("always", "never"):
        kept = read(tmp_path / "set", on_broken="skip", in_memory=in_memory)
        assert torch.equal(torch.stack([kept.read(i) for i in range(len(kept))]), pixels([0, 2]))


def test_workers_read_what_one_process_reads(tmp_path: Path) -> None:
    shards.huggingface(SHUFFLED, tmp_path / "set", n_shards=2)
    options = settings(tmp_path / "set", in_memory="never")
    images = load(*options, "train")
    assert isinstance(images, RowImages)
    view = feature_view(View(size=16), images, [0.5] * 3, [0.25] * 3)
    for num_workers in (0, 2):
        batches = list(feature_batches(images, view, torch.tensor([5, 0, 19, 7, 3]), 2, num_workers))
        assert torch.equal(torch.cat([batch.images for batch in batches]), pixels([5, 0, 19, 7, 3]))


def test_a_set_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        FileNotFoundError, match=r"^data.name=uoft-cs/cifar10 .*HF_HUB_OFFLINE is set.*data.root=DIR"
    ) as e:
        load(*images_of("huggingface", name="uoft-cs/cifar10"), "train")
    assert "\n" not in str(e.value)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"data.root="):
        read(tmp_path / "empty")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "train.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"data.root=\S* cannot be read by the library datasets"):
        read(tmp_path / "damaged")
    shards.huggingface([], tmp_path / "rowless")  # of which load_from_disk raises an IndexError
    with pytest.raises((ValueError, FileNotFoundError), match=r"data.root=\S* .*rows"):
        read(tmp_path / "rowless")


def test_a_row_without_an_image_is_named_by_its_number(tmp_path: Path) -> None:
    rows = {"image": [shards.png(0), None, shards.png(2)]}
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "holes"))
    with pytest.raises(ValueError, match=r"row 1 \(from 0\) holds no image"):
        read(tmp_path / "holes")


def test_what_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"either data.name=OWNER/SET"):
        images_of("huggingface")
    with pytest.raises(ValueError, match=r"either data.name=OWNER/SET"):
        images_of("huggingface", name="a/b", root="c")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ImportError, match=r"data=huggingface needs an extra: pip install -e '.\[hf\]'"):
        load(*images_of("huggingface", name="some/set"), "train")
