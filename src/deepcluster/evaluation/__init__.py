"""How good features and clusters are: probes, VOC 2007, retrieval, clusters. Every evaluation is an Evaluator."""
