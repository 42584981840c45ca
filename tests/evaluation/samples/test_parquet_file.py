"""Features in a parquet file, with names, in groups of any size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.evaluated import context, features, pictures

from deepcluster.evaluation.samples import parquet_file
from deepcluster.evaluation.samples.embed import Embed


@pytest.mark.parametrize("numbers", [1, 84 * 40, 2**23])
def test_rows_are_the_features_with_their_names(numbers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "NUMBERS_PER_GROUP", numbers)
    images = pictures(100, 1)
    found = context(tmp_path, images)
    assert Embed(format="parquet").run(found) == {"n_images": 100, "dim": 84}
    file = pq.ParquetFile(tmp_path / "embeddings.parquet")
    assert file.num_row_groups == {1: 4, 84 * 40: 2, 2**23: 1}[numbers]  # batches of 32
    table = file.read()
    assert table.column("sample").to_pylist() == images.samples
    rows = np.stack(table.column("embedding").to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(rows, features(found, images).numpy(), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings.parquet"]
    Embed().run(found)
    np.testing.assert_array_equal(np.load(tmp_path / "embeddings.npy"), rows)


def test_names_that_are_no_utf_8_are_spelled_out(tmp_path: Path) -> None:
    images = replace(pictures(2, 1), samples=["caf\udce9.png", "é.png"])
    Embed(format="parquet").run(context(tmp_path, images))
    table = pq.read_table(tmp_path / "embeddings.parquet")
    assert table.column("sample").to_pylist() == ["caf\\xe9.png", "é.png"]


def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    found = context(tmp_path, pictures(40, 1))
    torch.nn.init.constant_(next(iter(found.backbone.parameters())), torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        Embed(format="parquet").run(found)
    assert not (tmp_path / "embeddings.parquet").exists()
