import gzip
import pickle
import struct

import numpy as np
import pytest
import scipy.io
import torch
from support.images_of import images_of
from torchvision import datasets

from deepcluster.data.sources.archives import ASSET, read_idx
from deepcluster.data.sources.load import load


def write_idx(path, array, pack=gzip.compress):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(head + array.tobytes()))


def test_the_shipped_subset_is_balanced_small_and_keeps_original_numbers():
    train, test = load(*images_of(), "train"), load(*images_of(), "test")
    assert torch.bincount(train.labels).tolist() == [500] * 10
    assert torch.bincount(test.labels).tolist() == [100] * 10
    assert train.images.shape == (5000, 1, 28, 28) and train.classes[9] == "Ankle boot"
    # the first training images of Fashion-MNIST are an ankle boot, two T-shirts, a dress
    assert train.samples[:4] == ["train/0", "train/1", "train/2", "train/3"]
    assert train.labels[:4].tolist() == [9, 0, 0, 3] and train.images[0].sum() == 76247
    assert len(set(train.samples)) == 5000
    assert sum(file.stat().st_size for file in ASSET.parent.iterdir()) < 3e6


@pytest.mark.parametrize("place", ["", "FashionMNIST/raw/"])
@pytest.mark.parametrize(("end", "pack"), [(".gz", gzip.compress), ("", bytes)])
def test_fashion_mnist_is_read_from_idx_files(tmp_path, place, end, pack):
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = np.arange(6, dtype=np.uint8)
    for name in ("train", "t10k"):
        write_idx(tmp_path / f"{place}{name}-images-idx3-ubyte{end}", images, pack)
        write_idx(tmp_path / f"{place}{name}-labels-idx1-ubyte{end}", labels, pack)
    data = load(*images_of("fashion_mnist", root=str(tmp_path)), "test")
    assert (data.images[:, 0].numpy() == images).all() and data.labels.tolist() == list(range(6))
    assert data.samples[5] == "test/5"


def test_a_cut_idx_file_is_named(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(path, np.zeros((2, 28, 28), np.uint8))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is damaged"):
        read_idx(path)
    write_idx(path, np.zeros((2, 28, 28), np.uint8), pack=lambda data: gzip.compress(data[:-5]))
    with pytest.raises(ValueError, match="is damaged"):
        read_idx(path)


@pytest.fixture
def unchecked(monkeypatch):
    """torchvision compares checksums; small data in the same layout has others."""
    for module in (datasets.cifar, datasets.svhn, datasets.stl10):
        monkeypatch.setattr(module, "check_integrity", lambda *args, **kwargs: True)


def pixels(n, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), dtype=np.uint8)


@pytest.mark.usefixtures("unchecked")
def test_cifar_is_read_from_its_layout(tmp_path):
    images = pixels(10, 32)
    ten = tmp_path / "cifar-10-batches-py"
    ten.mkdir()
    for i in range(5):
        batch = {"data": images[2 * i : 2 * i + 2].reshape(2, -1), "labels": [i, 9 - i]}
        (ten / f"data_batch_{i + 1}").write_bytes(pickle.dumps(batch))
    (ten / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    data = load(*images_of("cifar10", root=str(tmp_path)), "train")
    assert (data.images.numpy() == images).all()
    assert data.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5] and data.classes == list("abcdefghij")
    hundred = tmp_path / "cifar-100-python"
    hundred.mkdir()
    (hundred / "test").write_bytes(pickle.dumps({"data": images.reshape(10, -1), "fine_labels": list(range(10))}))
    (hundred / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(i) for i in range(100)]}))
    data = load(*images_of("cifar100", root=str(tmp_path)), "test")
    assert (data.images.numpy() == images).all() and data.samples[9] == "test/9" and len(data.classes) == 100


@pytest.mark.usefixtures("unchecked")
def test_svhn_is_read_from_its_layout(tmp_path):
    images = pixels(4, 32)
    content = {"X": images.transpose(2, 3, 1, 0), "y": np.array([[1], [10], [3], [9]], np.uint8)}
    scipy.io.savemat(tmp_path / "train_32x32.mat", content)
    data = load(*images_of("svhn", root=str(tmp_path)), "train")
    assert (data.images.numpy() == images).all() and data.labels.tolist() == [1, 0, 3, 9]  # 10 stands for 0


@pytest.mark.usefixtures("unchecked")
def test_stl10_trains_on_unlabelled_images_too(tmp_path):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    parts = {name: pixels(n, 96, seed) for seed, (name, n) in enumerate([("train", 3), ("unlabeled", 4), ("test", 2)])}
    for name, images in parts.items():
        (folder / f"{name}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())  # columns first
    (folder / "train_y.bin").write_bytes(bytes([1, 10, 2]))
    (folder / "test_y.bin").write_bytes(bytes([5, 6]))
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    data = load(*images_of("stl10", root=str(tmp_path)), "train")
    assert data.labels.tolist() == [0, 9, 1, -1, -1, -1, -1]
    assert (data.images.numpy() == np.concatenate([parts["train"], parts["unlabeled"]])).all()
    assert load(*images_of("stl10", root=str(tmp_path)), "test").labels.tolist() == [4, 5]


@pytest.mark.parametrize("source", ["fashion_mnist", "cifar10", "cifar100", "svhn", "stl10"])
def test_a_failed_download_names_the_root_and_the_way_out(tmp_path, monkeypatch, source):
    def fail(*args, **kwargs):
        raise OSError("Temporary failure in name resolution")

    for module in (datasets.cifar, datasets.svhn, datasets.stl10, datasets.mnist):
        for name in ("download_and_extract_archive", "download_url"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, fail)
    with pytest.raises(FileNotFoundError) as error:
        load(*images_of(source, root=str(tmp_path)), "train")
    for words in (f"data={source}", f"data.root={tmp_path}", "name resolution", "fashion_mnist_mini"):
        assert words in str(error.value)
    with pytest.raises(ValueError, match=r"needs data.root=DIR"):
        load(*images_of(source), "train")


def test_arrays_follow_limit_channels_stored_size_and_labels():
    full = load(*images_of(), "train")
    few = load(*images_of(limit=10, n_channels=3, stored_size=14, labels="none"), "train")
    assert few.samples == [full.samples[i] for i in range(0, 5000, 500)]
    assert few.images.shape == (10, 3, 14, 14) and few.labels is None
    assert (few.images[:, 0] == few.images[:, 2]).all()
    halved = full.images[::500].float().unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert (few.images[:, :1] - halved).abs().mean() < 6  # near the mean of 2 x 2 pixels
