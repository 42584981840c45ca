"""The page of a run: its clusters, map, duplicates and odd pictures as a folder that a browser opens from the disk."""
