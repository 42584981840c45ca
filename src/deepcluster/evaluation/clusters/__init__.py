"""How good clusters are, and which cluster an image belongs to."""
