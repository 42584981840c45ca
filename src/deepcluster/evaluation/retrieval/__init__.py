"""Instance retrieval: R-MAC descriptors, rankings, protocols. Start at instance_retrieval.py."""
