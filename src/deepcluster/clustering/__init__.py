"""Arrays in, an Assignment out: reduction -> k-means -> metrics. Knows no images, no Lightning, no Hydra."""
