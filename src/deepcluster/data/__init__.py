"""Images in: decoding, views, the sampler and the epoch's loader. Start at sources/load.py."""
