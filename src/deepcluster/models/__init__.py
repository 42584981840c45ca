"""The networks: a backbone makes features from images, a head predicts pseudo-labels from features."""
