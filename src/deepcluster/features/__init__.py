"""What is clustered: images through a network to reduced features (N, P). Start at extraction.py."""
