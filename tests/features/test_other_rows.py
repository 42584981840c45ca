"""Rows of other extractors equal a plain reference, whatever the order of the file, or are refused in a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import tiny
from torch import Tensor

from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import MemoryImages
from deepcluster.features.other_rows import UsedRows
from deepcluster.features.other_rows_coates import CoatesRows
from deepcluster.features.other_rows_file import FileRows
from deepcluster.features.other_rows_network import NetworkRows
from deepcluster.features.other_rows_patches_and_pixels import PatchesAndPixelsRows
from deepcluster.features.other_rows_pixels import PixelRows
from deepcluster.weights.exported import write_exported
from deepcluster.weights.network import build_backbone

IMAGES = tiny.images()
N = len(IMAGES)
COATES: dict[str, Any] = dict(n_filters=8, patch_size=4, n_patches=800, reduction=Reduction(dim=8))
KNOWN = torch.arange(N * 5, dtype=torch.float32).view(N, 5)


def rows_of(settings: UsedRows, images: MemoryImages = IMAGES, seed: int = 1, batch_size: int = 7) -> Tensor:
    settings.check_images(images)
    made = settings.build(images, seed=seed, batch_size=batch_size, num_workers=0, device=torch.device("cpu"))
    rows = torch.zeros(len(images), made.dim)
    for indices, some in made.source.stream(torch.arange(len(images)).flip(0)):
        rows[indices] = some
    assert made.dim == settings.row_dim(images)
    return rows


def parquet(folder: Path, names: list[str], rows: Tensor, **more: Any) -> str:
    pq.write_table(pa.table({"path": names, "row": rows.tolist(), **more}), folder / "rows.parquet")
    return str(folder / "rows.parquet")


def file_rows(path: str | Path, **more: Any) -> FileRows:
    return FileRows(path=str(path), reduction=Reduction(dim=4), **more)


def shuffled() -> tuple[Tensor, list[str]]:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    return KNOWN[order], [IMAGES.samples[i] for i in order]


# Coates, pixels -------------------------------------------------------------------------------------------------------


def test_coates_rows_count_patches_that_are_nearer_than_the_mean_filter() -> None:
    settings = CoatesRows(**COATES)
    made = settings.build(IMAGES, seed=1, batch_size=16, num_workers=0, device=torch.device("cpu"))
    code = made.source.network.code  # type: ignore[attr-defined]
    patches = IMAGES.images.double().unfold(2, 4, 1).unfold(3, 4, 1).reshape(N, 13, 13, 16)
    centred = patches - patches.mean(dim=3, keepdim=True)
    centred /= (centred.square().mean(dim=3, keepdim=True) + 10).sqrt()
    whitened = (centred - code.mean) @ code.whitening.double()
    distances = (whitened[..., None, :] - code.centroids).norm(dim=4)
    codes = (distances.mean(dim=3, keepdim=True) - distances).clamp_min(0)
    quadrants = [codes[:, rows, columns].sum(dim=(1, 2)) for rows in _halves(13) for columns in _halves(13)]
    expected = torch.stack(quadrants, dim=2).flatten(1)  # (N, K, 4): by filter, then by quadrant
    assert torch.allclose(rows_of(settings).double(), expected, rtol=1e-4, atol=1e-3)


def _halves(n: int) -> list[slice]:
    return [slice(0, (n + 1) // 2), slice((n + 1) // 2, n)]


def test_coates_rows_are_a_function_of_the_seed_and_the_images() -> None:
    rows = rows_of(CoatesRows(**COATES))
    assert torch.equal(rows, rows_of(CoatesRows(**COATES), batch_size=7))
    assert not torch.equal(rows, rows_of(CoatesRows(**COATES), seed=2))


def test_a_second_layer_is_beside_the_first() -> None:
    first, both = (rows_of(CoatesRows(**COATES, layers=layers)) for layers in (1, 2))
    assert torch.equal(both[:, :32], first)
    assert both.shape == (N, 32 + 4 * 8 * 2) and float(both[:, 32:].std(dim=0).min()) > 0  # 8 groups of 2 filters


def test_rows_of_patches_and_pixels_are_both_whitened_and_equally_long() -> None:
    small = {name: value for name, value in COATES.items() if name != "reduction"}
    rows = rows_of(PatchesAndPixelsRows(**small, dim=6)).double()
    for part, plain in (
        (rows[:, :6], rows_of(CoatesRows(**COATES))),
        (rows[:, 6:], IMAGES.images.flatten(1).float()),
    ):
        centred = plain.double() - plain.double().mean(dim=0)
        u = torch.linalg.svd(centred, full_matrices=False)[0]
        expected = torch.nn.functional.normalize(u[:, :6])  # whitened: all directions alike
        assert torch.allclose(part.abs(), expected.abs(), atol=2e-3)  # signs are free
        assert torch.allclose(part.norm(dim=1), torch.ones(N, dtype=torch.float64), atol=1e-5)


def test_more_components_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match=r"other_rows\.dim=40 is more than the .* lower it"):
        PatchesAndPixelsRows(n_filters=8, patch_size=4, n_patches=800, dim=40).row_dim(IMAGES)
    with pytest.raises(ValueError, match=r"other_rows\.dim=9 is more than the 8 components that 9 of these images"):
        PatchesAndPixelsRows(n_filters=8, patch_size=4, n_patches=800, dim=9, n_images=9).row_dim(IMAGES)


def test_pixel_rows_are_the_pixels() -> None:
    expected = IMAGES.images.flatten(1).float() / 255
    assert torch.allclose(rows_of(PixelRows()), expected, atol=1e-6)


@pytest.mark.parametrize(("channels", "side"), [(1, 32), (3, 18)])
def test_large_images_are_resized_so_that_a_row_is_short(channels: int, side: int) -> None:
    images = MemoryImages(images=torch.zeros(2, channels, 96, 96, dtype=torch.uint8), samples=["a", "b"])
    assert PixelRows().row_dim(images) == channels * side**2


# A trained network ----------------------------------------------------------------------------------------------------


def test_network_rows_are_the_features_that_the_files_network_gives(tmp_path: Path) -> None:
    network = build_backbone(tiny.CARD, seed=3).eval()
    file = write_exported(tmp_path, network, tiny.CARD, epoch=2)
    view = (IMAGES.images.float() / 255 - tiny.MEAN[0]) / tiny.STD[0]
    with torch.no_grad():
        expected = network(view)
    before = torch.get_rng_state()
    settings = NetworkRows(path=str(file), reduction=Reduction(dim=8))
    assert torch.allclose(rows_of(settings), expected, atol=1e-4)
    assert torch.equal(torch.get_rng_state(), before)  # dropout of the trained network draws from it


# A file ---------------------------------------------------------------------------------------------------------------


def test_rows_of_a_file_in_the_images_order(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", KNOWN.numpy().astype(np.float16))
    assert torch.equal(rows_of(file_rows(tmp_path / "rows.npy")), KNOWN)


def test_rows_of_a_shuffled_file_go_by_names(tmp_path: Path) -> None:
    rows, names = shuffled()
    np.save(tmp_path / "rows.npy", rows.numpy())
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    assert torch.equal(rows_of(file_rows(tmp_path / "rows.npy", names=str(tmp_path / "names.txt"))), KNOWN)


def test_rows_of_a_table_go_by_names_and_those_of_other_images_are_left_out(tmp_path: Path) -> None:
    rows, names = shuffled()
    listed = parquet(tmp_path, [*names, "another"], torch.cat([rows, torch.full((1, 5), -1.0)]))
    assert torch.equal(rows_of(file_rows(listed)), KNOWN)
    columns = {f"x{i}": rows[:, i].tolist() for i in range(5)}
    for name in ("id", "sample"):
        pq.write_table(pa.table({name: names, **columns}), tmp_path / "columns.parquet")
        assert torch.equal(rows_of(file_rows(tmp_path / "columns.parquet")), KNOWN)


def test_a_file_that_does_not_suit_is_refused_in_a_sentence(tmp_path: Path) -> None:
    rows, names = shuffled()
    short = tmp_path / "short.npy"
    np.save(short, rows[1:].numpy())
    with pytest.raises(ValueError, match=f"has {N - 1} rows, there are {N} images; .* other_rows.names=FILE"):
        rows_of(file_rows(short))
    first = min(names[:3], key=IMAGES.samples.index)
    with pytest.raises(ValueError, match=f"no row for 3 of {N} images, first {first} .its own first name is"):
        rows_of(file_rows(parquet(tmp_path, names[3:], rows[3:])))
    with pytest.raises(ValueError, match=f"several rows for {names[0]};"):
        rows_of(file_rows(parquet(tmp_path, [*names, names[0]], torch.cat([rows, rows[:1]]))))
    with pytest.raises(ValueError, match="word are not"):
        rows_of(file_rows(parquet(tmp_path, names, rows, word=names)))
    with pytest.raises(FileNotFoundError, match=r"other_rows.path=.*nowhere.npy: there is no such file"):
        rows_of(file_rows(tmp_path / "nowhere.npy"))
    with pytest.raises(ValueError, match=r"other_rows.names=.*short.npy is not a text file of names in UTF-8"):
        rows_of(file_rows(short, names=str(short)))
    (tmp_path / "empty.npy").touch()
    np.savez(tmp_path / "many.npz", rows=rows.numpy())
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    for name in ("empty.npy", "many.npy"):
        with pytest.raises(ValueError, match=rf"other_rows.path=.*{name} is not a .npy file of numbers"):
            rows_of(file_rows(tmp_path / name))
    for no_numbers in (["a"], {"x": 1.0}, [[1.0]]):
        pq.write_table(pa.table({"path": names, "row": [no_numbers] * N}), tmp_path / "words.parquet")
        with pytest.raises(ValueError, match="lists of numbers, or columns of numbers; row are not"):
            rows_of(file_rows(tmp_path / "words.parquet"))


def test_a_row_that_is_not_finite_is_named(tmp_path: Path) -> None:
    damaged = KNOWN.clone()
    damaged[3, 1] = torch.nan
    np.save(tmp_path / "rows.npy", damaged.numpy())
    with pytest.raises(ValueError, match=r"1 of .* rows are NaN or infinite, first that of train/3;"):
        rows_of(file_rows(tmp_path / "rows.npy"))


# All kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (lambda: CoatesRows(n_filters=30, n_patches=20), "n_patches=20 is less than other_rows.n_filters=30"),
        (lambda: rows_of(CoatesRows(patch_size=9, layers=2)), "layers=2 .*patch_size=9 needs .* 17 pixels .* have 16"),
        (lambda: CoatesRows(layers=3), "other_rows.layers must be one of 1, 2, got 3"),
        (lambda: rows_of(CoatesRows(patch_size=16)), "patch_size must be below the images' side of 16 pixels"),
        (
            lambda: rows_of(CoatesRows(n_filters=8)),
            "reduction.dim=64 is more than the 32 numbers of a row of .*=coates",
        ),
        (lambda: rows_of(PixelRows(reduction=Reduction(dim=99))), f"dim=99 needs at least 99 images, there are {N};"),
        (
            lambda: rows_of(CoatesRows(**COATES, n_neighbours=N)),
            f"other_rows.n_neighbours={N} needs at least {N + 1} images, there are {N}; lower it",
        ),
        (lambda: NetworkRows(), "other_rows.path=FILE, or .* other_rows.name=resnet18"),
        (lambda: rows_of(NetworkRows(name="resnet1")), "other_rows.name=resnet1 is n.* a ResNet of torchvision"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings()
