"""Images in: sources, decoding, views, the sampler and the epoch's loader. Start at sources.py."""
