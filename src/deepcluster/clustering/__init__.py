"""Arrays in, an Assignment out: reduction -> k-means or PIC -> metrics. Knows no images, no Lightning, no Hydra."""
