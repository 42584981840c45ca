"""From images through a network to the reduced features (N, P) that are clustered. Start at extraction.py."""
