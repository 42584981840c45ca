"""Who is told of a run besides metrics.csv: Weights & Biases, MLflow, TensorBoard; one adapter each."""
