"""A picture of the first layer's filters as they start, before any training.

    python -m benchmarks.plot_filters docs/kmeans_patches.png -- data=cifar10 data.root=DIR init=kmeans_patches

The overrides are train.py's.
"""

from pathlib import Path

import torch

from benchmarks.settings import parse, parser, read_config
from deepcluster.models.first_layer import first_layer
from deepcluster.run.parts import build_parts
from deepcluster.visualization.filters_picture import save_filters


def main(words: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("picture", type=Path)
    options.add_argument("--columns", type=int, default=16, help="filters in a row")
    options.add_argument("--zoom", type=int, default=6, help="pixels of the picture for one of a filter")
    arguments = parse(options, words)
    parts = build_parts(read_config(arguments.overrides))
    size, n_channels = parts.card["image_size"], parts.card["in_channels"]
    name, conv, _ = first_layer(parts.backbone, torch.zeros(1, n_channels, size, size))
    save_filters(conv.weight, arguments.picture, n_columns=arguments.columns, zoom=arguments.zoom)
    print(f"{len(conv.weight)} filters of {name}: {arguments.picture}")


if __name__ == "__main__":
    main()
