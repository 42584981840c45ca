"""data=litdata: what items may hold, the order of the images, chunks from a bucket, and what is refused."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference.pictures import encoded, picture
from support import shards
from support.images_of import Settings, images_of

from deepcluster.data.decode import decode
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.loader import feature_batches
from deepcluster.data.sources.load import load
from deepcluster.data.sources.rows import RowImages
from deepcluster.data.view_settings import View
from deepcluster.data.views import feature_view

pytest.importorskip("litdata")
N = 20
SHUFFLED = [7, 3, 19, 0, 11, 4, 15, 8, 2, 17, 13, 1, 9, 16, 5, 12, 18, 10, 6, 14]


def settings(root: Path | str, **more: Any) -> Settings:
    return images_of("litdata", root=str(root), **{"cache_dir": "none", **more})


def read(root: Path | str, split: str = "train", **more: Any) -> ImageSet:
    images = load(*settings(root, **more), split)
    assert images is not None
    return images


def pixels(numbers: list[int]) -> list[torch.Tensor]:
    return [decode(shards.png(number), 3) for number in numbers]


def assert_same(a: ImageSet, b: ImageSet) -> None:
    assert list(a.samples) == list(b.samples) and len(a) == len(b)
    assert all(torch.equal(a.read(i), b.read(i)) for i in range(len(a)))
    assert a.labels is not None and b.labels is not None and torch.equal(a.labels, b.labels)


def ordered(images: ImageSet) -> list[torch.Tensor]:
    """The images by their own id, which tests give as a number."""
    by_id = sorted(range(len(images)), key=lambda i: int(images.samples[i]))
    return [images.read(i) for i in by_id]


def numbered(images: list[Any]) -> list[dict[str, Any]]:
    return [{"id": i, "image": image} for i, image in enumerate(images)]


def test_the_same_images_in_other_chunks_are_the_same_set(tmp_path: Path) -> None:
    a = shards.litdata(shards.records(range(N)), tmp_path / "a")
    b = shards.litdata(shards.records(SHUFFLED), tmp_path / "b", chunk_size=3)
    for in_memory, kind in (("always", MemoryImages), ("never", RowImages)):
        first, other = read(a, in_memory=in_memory), read(b, in_memory=in_memory)
        assert isinstance(first, kind) and len(first) == N
        assert_same(first, other)
    written = {tuple(image.flatten().tolist()): shards.label_of(i) for i, image in enumerate(pixels(list(range(N))))}
    assert first.labels is not None
    found = {tuple(first.read(i).flatten().tolist()): int(first.labels[i]) for i in range(N)}
    assert found == written


def test_an_id_of_the_items_tells_them_apart(tmp_path: Path) -> None:
    items = [{"image": shards.png(i), "name": f"{i:02}.png", "n": 1} for i in SHUFFLED]
    images = read(shards.litdata(items, tmp_path / "set"), id="name")
    assert list(images.samples) == [f"{i:02}.png" for i in range(N)] and images.labels is None
    assert all(torch.equal(images.read(i), image) for i, image in enumerate(pixels(list(range(N)))))
    with pytest.raises(ValueError, match=r"data.id=n: '1' is there several times"):
        read(tmp_path / "set", id="n")
    with pytest.raises(ValueError, match=r"data.id=key is none of .*image \(bytes\), name \(str\), n \(int\)"):
        read(tmp_path / "set", id="key")
    positions = read(tmp_path / "set", id="position")
    assert positions.samples[0] == "train/0" and torch.equal(positions.read(0), pixels([SHUFFLED[0]])[0])


def test_images_may_be_encoded_decoded_or_arrays(tmp_path: Path) -> None:
    pictures = [picture(i, 16, 12) for i in range(4)]
    planes = [torch.from_numpy(np.array(one)).permute(2, 0, 1).contiguous() for one in pictures]
    forms = {
        "pil": pictures,
        "arrays": [np.array(one) for one in pictures],
        "tensors": planes,
        "bytes": [encoded(one, "PNG") for one in pictures],
    }
    for name, images in forms.items():
        found = read(shards.litdata(numbered(images), tmp_path / name), id="id")
        assert all(torch.equal(a, b) for a, b in zip(ordered(found), planes, strict=True)), name
    grey = [one.convert("L") for one in pictures]
    found = read(shards.litdata(numbered(grey), tmp_path / "grey"), id="id")
    assert found.n_channels == 1 and torch.equal(ordered(found)[2][0], torch.from_numpy(np.array(grey[2])))
    jpegs = [encoded(one, "JPEG") for one in grey]
    opened = [Image.open(io.BytesIO(data)) for data in jpegs]
    for i, (image, data) in enumerate(zip(opened, jpegs, strict=True)):
        image.filename = str(tmp_path / f"{i}.jpg")  # type: ignore[attr-defined]  # where litdata looks
        (tmp_path / f"{i}.jpg").write_bytes(data)
    found = read(shards.litdata(numbered(opened), tmp_path / "jpeg"), id="id")
    assert found.n_channels == 1  # litdata by itself would have made colours of it
    assert all(torch.equal(a, decode(b, 1)) for a, b in zip(ordered(found), jpegs, strict=True))


def test_items_may_be_tuples_or_images_alone(tmp_path: Path) -> None:
    pairs = read(shards.litdata([(shards.png(i), shards.label_of(i)) for i in range(5)], tmp_path / "pairs"))
    alone = read(shards.litdata([shards.png(i) for i in range(5)], tmp_path / "alone"))
    assert alone.labels is None and list(alone.samples) == list(pairs.samples)
    assert pairs.labels is not None and sorted(pairs.labels.tolist()) == [0, 0, 1, 1, 2]


def test_train_and_test_are_folders(tmp_path: Path) -> None:
    shards.litdata(shards.records(range(12)), tmp_path / "set" / "train")
    shards.litdata(shards.records(range(12, 20)), tmp_path / "set" / "val")
    assert (len(read(tmp_path / "set")), len(read(tmp_path / "set", "test"))) == (12, 8)
    assert len(read(tmp_path / "set", train_split="val")) == 8
    with pytest.raises(FileNotFoundError, match=r"data.train_split=dev: .* has no index.json"):
        read(tmp_path / "set", train_split="dev")


def test_a_bucket_is_fetched_once(tmp_path: Path) -> None:
    bucket = shards.litdata(shards.records(range(N)), tmp_path / "bucket", chunk_size=3)
    options: dict[str, Any] = {"cache_dir": str(tmp_path / "cache"), "in_memory": "never"}
    first = read(f"local:{bucket}", **options)
    chunks = {file.name for file in (tmp_path / "cache" / "litdata").rglob("chunk-*.bin")}
    assert chunks == {file.name for file in bucket.glob("chunk-*.bin")} and len(chunks) == 7
    for file in bucket.glob("chunk-*.bin"):
        file.unlink()  # whatever is read from here on comes from the cache
    assert_same(first, read(f"local:{bucket}", **options))
    assert len({tuple(first.read(i).flatten().tolist()) for i in range(N)}) == N
    with pytest.raises(
        ValueError, match=r"takes .* GB, data.cache_gb=1e-06: .* all chunks must fit; raise data.cache_gb"
    ):
        read(f"local:{bucket}", cache_gb=1e-6, **options)
    with pytest.raises(ValueError, match=r"reading.cache_dir, which is none"):
        read(f"local:{bucket}")


def test_each_process_of_several_sees_all_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """litdata deals out its chunks by these variables, where it iterates; our sampler deals out the draws."""
    root = shards.litdata(shards.records(range(N)), tmp_path / "set")
    alone = read(root)
    for rank in range(2):
        for name, value in (("WORLD_SIZE", "2"), ("GLOBAL_RANK", str(rank)), ("RANK", str(rank)), ("NNODES", "1")):
            monkeypatch.setenv(name, value)
        assert_same(alone, read(root))
        bucket = {"cache_dir": str(tmp_path / f"cache{rank}")}
        assert_same(alone, read(f"local:{root}", **bucket))


def test_workers_read_what_one_process_reads(tmp_path: Path) -> None:
    items = [{"image": shards.png(i), "id": i} for i in SHUFFLED]
    options = settings(shards.litdata(items, tmp_path / "set"), in_memory="never", id="id")
    images = load(*options, "train")
    assert isinstance(images, RowImages)
    view = feature_view(View(size=16), images, [0.5] * 3, [0.25] * 3)
    wanted = [5, 0, 19, 7, 3]
    expected = torch.stack(pixels([int(images.samples[i]) for i in wanted]))
    for num_workers in (0, 2):
        batches = list(feature_batches(images, view, torch.tensor(wanted), 2, num_workers))
        assert torch.equal(torch.cat([batch.images for batch in batches]), expected)
    assert torch.equal(pickle.loads(pickle.dumps(images)).read(4), images.read(4))  # as spawned workers get it


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    root = shards.litdata([{"image": shards.png(i), "what": {1, i}} for i in range(3)], tmp_path / "pickles")
    with pytest.raises(ValueError, match="fields of type pickle, which are not read: pickles run code"):
        read(root)
    two = shards.litdata([{"a": shards.png(i), "b": shards.png(i), "y": i} for i in range(3)], tmp_path / "two")
    with pytest.raises(ValueError, match=r"a \(bytes\), b \(bytes\), y \(int\), several .*data.image_column=NAME"):
        read(two)
    images = read(two, image_column="b", label_column="y")
    assert images.labels is not None and sorted(images.labels.tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"data.label_column=b holds no integers"):
        read(two, image_column="a", label_column="b")
    with pytest.raises(FileNotFoundError, match=r"data.root=.* is not a folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no index.json"):
        read(tmp_path)


def test_missing_and_damaged_chunks_are_named(tmp_path: Path) -> None:
    root = shards.litdata(shards.records(range(N)), tmp_path / "set")
    chunk = root / "chunk-0-1.bin"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"chunk-0-1.bin is cut"):
        read(root)
    chunk.unlink()
    with pytest.raises(FileNotFoundError, match=r"chunk-0-1.bin is missing"):
        read(root)
    chunk.write_bytes(whole[:4] + b"\xff" * (len(whole) - 4))
    with pytest.raises(ValueError, match=r"litdata cannot read row"):
        read(root)
    index = json.loads((root / "index.json").read_text())
    (root / "index.json").write_text(json.dumps(index)[:-40])
    with pytest.raises(ValueError, match=r"index.json is damaged"):
        read(root)
