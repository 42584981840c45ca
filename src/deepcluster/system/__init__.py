"""What every room uses and what knows nothing of clustering: files, seeds, processes, threads, the machine."""
