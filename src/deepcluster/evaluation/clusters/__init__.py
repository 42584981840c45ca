"""How good clusters are, and to which cluster an image belongs."""
