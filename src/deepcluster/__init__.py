"""DeepCluster: learn visual features without labels by clustering them. Start reading at train.py."""

__version__ = "0.1.0"
