"""A picture of the first layer's filters, as they start: python -m benchmarks.plot_filters PICTURE [OVERRIDE ...]

    python -m benchmarks.plot_filters docs/kmeans_patches.png data=cifar10 data.root=DIR init=kmeans_patches

The overrides are train.py's.
"""

import argparse
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from deepcluster.models.first_layer import first_layer
from deepcluster.run.prepare import prepare
from deepcluster.settings.train import register_schemas, train_config
from deepcluster.visualization.first_filters import save_filters

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--columns", type=int, default=16, help="filters in a row")
    parser.add_argument("--zoom", type=int, default=6, help="pixels of the picture for one of a filter")
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    arguments = parser.parse_args()
    register_schemas()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = train_config(compose("train", arguments.overrides))
    parts = prepare(settings)
    size, n_channels = parts.card["image_size"], parts.card["in_channels"]
    name, conv, _ = first_layer(parts.backbone, torch.zeros(1, n_channels, size, size))
    save_filters(conv.weight, arguments.picture, n_columns=arguments.columns, zoom=arguments.zoom)
    print(f"{len(conv.weight)} filters of {name}: {arguments.picture}")


if __name__ == "__main__":
    main()
