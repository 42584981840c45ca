"""What logs a run besides metrics.csv: Weights & Biases, MLflow or TensorBoard. Start at settings.py."""
