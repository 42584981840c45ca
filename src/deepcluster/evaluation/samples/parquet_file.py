"""Features as a parquet file, each row with its image's name; written group by group, never all in memory."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from deepcluster.features.extraction import FeaturePass
from deepcluster.system.atomic import opened_atomically

NUMBERS_PER_GROUP = 2**23  # of a row group: 32 MB of features


def write_parquet(
    feature_pass: FeaturePass, samples: Sequence[str], path: Path, *, advance: Callable[[int], None]
) -> int:
    """Write two columns: sample, text, and embedding, a list of D float32, of all images in their order.

    A name that is no UTF-8 has its odd bytes as \\xNN.

    Args:
        samples: the images' names.

    Returns:
        D.
    """
    dim = 0
    writer: pq.ParquetWriter | None = None
    kept: list[tuple[Tensor, Tensor]] = []
    with opened_atomically(path) as file:
        for indices, features in feature_pass.stream(torch.arange(feature_pass.n_images)):
            dim = features.shape[1]
            schema = pa.schema([("sample", pa.string()), ("embedding", pa.list_(pa.float32(), dim))])
            writer = writer or pq.ParquetWriter(file, schema)
            kept.append((indices, features.float().cpu()))
            if sum(rows.numel() for _, rows in kept) >= NUMBERS_PER_GROUP:
                writer.write_table(_group(kept, samples, schema))
                kept = []
            advance(len(indices))
        assert writer is not None, "a set has images"
        if kept:
            writer.write_table(_group(kept, samples, writer.schema))
        writer.close()
    return dim


def _group(kept: list[tuple[Tensor, Tensor]], samples: Sequence[str], schema: pa.Schema) -> pa.Table:
    names = [_as_text(samples[i]) for indices, _ in kept for i in indices.tolist()]
    values = pa.array(torch.cat([rows for _, rows in kept]).flatten().numpy())
    embedding = pa.FixedSizeListArray.from_arrays(values, schema.field("embedding").type.list_size)
    return pa.Table.from_arrays([pa.array(names, pa.string()), embedding], schema=schema)


def _as_text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
