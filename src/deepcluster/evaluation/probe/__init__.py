"""How well labels can be read from features: lines, nearest neighbours, fine-tuning."""
