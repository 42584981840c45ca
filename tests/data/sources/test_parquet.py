import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from reference.pictures import encoded, picture
from support.images_of import images_of

from deepcluster.data.decode import decode
from deepcluster.data.images import EncodedImages, MemoryImages
from deepcluster.data.sources.load import load


def parquet(root, **settings):
    return images_of("parquet", root=str(root), **{"cache_dir": "none", **settings})


def write(path, first, n, *, column="image", struct=True, paths=True, label="label", names=None, broken=()):
    images = [encoded(picture(first + i), "PNG") if first + i not in broken else b"x" for i in range(n)]
    if struct:
        rows = [{"bytes": image, "path": f"{first + i}.png" if paths else None} for i, image in enumerate(images)]
        array = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    else:
        array = pa.array(images, pa.binary())
    columns = {column: array}
    if label:
        columns[label] = pa.array([(first + i) % 3 if (first + i) % 4 else None for i in range(n)], pa.int64())
    table = pa.table(columns)
    if names:
        info = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


def pixels(numbers):
    return torch.stack([decode(encoded(picture(number), "PNG"), 3) for number in numbers])


def test_shards_are_read_in_order_with_labels_and_their_names(tmp_path):
    write(tmp_path / "train-00001-of-00002.parquet", 5, 3, names=["x", "y", "z"])
    write(tmp_path / "train-00000-of-00002.parquet", 0, 5, names=["x", "y", "z"])
    write(tmp_path / "test-00000-of-00001.parquet", 8, 2, names=["x", "y", "z"])
    train, test = load(*parquet(tmp_path), "train"), load(*parquet(tmp_path), "test")
    assert (train.images == pixels(range(8))).all() and (test.images == pixels([8, 9])).all()
    assert train.labels.tolist() == [-1, 1, 2, 0, -1, 2, 0, 1]  # null is no label
    assert train.classes == ["x", "y", "z"]
    assert train.samples == [f"{i}.png" for i in range(8)]


@pytest.mark.parametrize("struct", [True, False])
def test_tables_without_paths_number_their_rows(tmp_path, struct):
    write(tmp_path / "data" / "train.parquet", 0, 3, column="img", struct=struct, paths=False, label=None)
    images = load(*parquet(tmp_path), "train")
    assert images.samples == ["train/0", "train/1", "train/2"] and images.labels is None
    assert (images.images == pixels(range(3))).all() and load(*parquet(tmp_path), "test") is None


def test_a_limit_and_skipped_rows_keep_images_labels_and_names_together(tmp_path):
    write(tmp_path / "anything.parquet", 0, 10, broken=(3,))
    for in_memory, kind in (("always", MemoryImages), ("never", EncodedImages)):
        images = load(*parquet(tmp_path, on_broken="skip", in_memory=in_memory), "train")
        assert isinstance(images, kind) and [name for name, _ in images.skipped] == ["3.png"]
        kept = [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert (torch.stack([images.read(i) for i in range(9)]) == pixels(kept)).all()
        assert images.samples == [f"{i}.png" for i in kept]
        limited = load(*parquet(tmp_path, on_broken="skip", in_memory=in_memory, limit=5), "train")
        assert limited.samples == ["0.png", "2.png", "4.png", "6.png", "8.png"]
        assert limited.labels.tolist() == [-1, 2, -1, 0, -1]
        assert (torch.stack([limited.read(i) for i in range(5)]) == pixels(range(0, 10, 2))).all()


def test_a_remembered_set_is_read_without_its_bytes(tmp_path, monkeypatch):
    write(tmp_path / "data" / "train.parquet", 0, 4)
    settings = parquet(tmp_path, cache_dir=str(tmp_path / "cache"))
    first = load(*settings, "train")
    monkeypatch.setattr("deepcluster.data.sources.parquet._fetch", lambda *_: pytest.fail("bytes were read"))
    again = load(*settings, "train")
    assert (again.images == first.images).all() and (again.labels == first.labels).all()


def test_wrong_tables_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no .parquet files"):
        load(*parquet(tmp_path), "train")
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"train.parquet has the columns text, label; one must hold images"):
        load(*parquet(tmp_path), "train")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(ValueError, match=r"train.parquet is damaged"):
        load(*parquet(tmp_path), "train")
    (tmp_path / "train.parquet").unlink()
    write(tmp_path / "test.parquet", 0, 3)
    with pytest.raises(ValueError, match=r"test.parquet but no train"):
        load(*parquet(tmp_path), "train")


def test_files_that_hold_images_otherwise_than_the_first_are_named(tmp_path):
    write(tmp_path / "train-0.parquet", 0, 3)
    write(tmp_path / "train-1.parquet", 3, 3, struct=False)
    with pytest.raises(ValueError, match=r"train-1.parquet holds its images otherwise than .*train-0.parquet"):
        load(*parquet(tmp_path), "train")


def test_a_file_without_labels_among_others_leaves_its_images_without(tmp_path):
    write(tmp_path / "train-0.parquet", 1, 3)
    write(tmp_path / "train-1.parquet", 4, 2, label=None)
    assert load(*parquet(tmp_path), "train").labels.tolist() == [1, 2, 0, -1, -1]


def test_labels_that_are_neither_integers_nor_text_are_left_out_and_told(tmp_path, caplog):
    images = [encoded(picture(i), "PNG") for i in range(2)]
    pq.write_table(pa.table({"image": images, "label": [0.5, 1.5]}), tmp_path / "train.parquet")
    assert load(*parquet(tmp_path), "train").labels is None
    assert "column label of the train files is double; only integers and text are labels" in caplog.text


def test_tables_that_do_not_fit_in_memory_are_refused_before_they_are_read(tmp_path):
    write(tmp_path / "train.parquet", 0, 4)
    with pytest.raises(ValueError, match=r"reading.memory_gb=1e-06; raise it"):
        load(*parquet(tmp_path, memory_gb=1e-6), "train")


def named(path, labels, kind):
    """A file of pictures whose labels are text."""
    images = pa.array([encoded(picture(i), "PNG") for i in range(len(labels))], pa.binary())
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": pa.array(labels, kind)}), path)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_labels_of_text_become_the_sorted_classes_of_both_splits(tmp_path, kind):
    named(tmp_path / "train-0.parquet", ["cat", "ape", None, "cat"], kind)
    named(tmp_path / "test-0.parquet", ["cat", "bee"], kind)  # a class that the training images lack
    train, test = load(*parquet(tmp_path), "train"), load(*parquet(tmp_path), "test")
    assert train.classes == test.classes == ["ape", "bee", "cat"]
    assert train.labels.tolist() == [2, 0, -1, 2] and test.labels.tolist() == [2, 1]
    assert load(*parquet(tmp_path, labels="none"), "train").labels is None


def test_the_only_config_folder_is_read_and_several_are_named(tmp_path):
    write(tmp_path / "plain_text" / "train-00000-of-00001.parquet", 0, 3)
    write(tmp_path / "plain_text" / "test-00000-of-00001.parquet", 3, 2)
    images = load(*parquet(tmp_path), "train")
    assert (images.images == pixels(range(3))).all() and len(load(*parquet(tmp_path), "test")) == 2
    write(tmp_path / "augmented" / "train-00000-of-00001.parquet", 0, 3)
    with pytest.raises(ValueError, match=r"several folders: augmented, plain_text; choose .*data.root=.*/augmented"):
        load(*parquet(tmp_path), "train")
    assert len(load(*parquet(tmp_path / "plain_text"), "train")) == 3
