"""Plain twin of k-NN classification: one test image after the other, one neighbour after the other."""

import math

import numpy as np
from numpy.typing import NDArray


def knn_predictions(
    train_x: NDArray[np.float64],
    train_y: NDArray[np.int64],
    test_x: NDArray[np.float64],
    k: int,
    temperature: float,
) -> list[int]:
    """Class with the largest sum of exp(cosine / temperature) over the k most similar training images."""
    predictions = []
    for x in test_x:
        cosines = [float(x @ row / np.linalg.norm(x) / np.linalg.norm(row)) for row in train_x]
        nearest = sorted(range(len(train_x)), key=lambda i: -cosines[i])[:k]
        votes: dict[int, float] = {}
        for i in nearest:
            label = int(train_y[i])
            votes[label] = votes.get(label, 0.0) + math.exp(cosines[i] / temperature)
        predictions.append(max(votes, key=lambda label: votes[label]))
    return predictions


def majority_predictions(
    train_x: NDArray[np.float64], train_y: NDArray[np.int64], test_x: NDArray[np.float64], k: int
) -> list[int]:
    """The commonest class among the k most similar training images, the smallest of equals."""
    predictions = []
    for x in test_x:
        cosines = [float(x @ row / np.linalg.norm(x) / np.linalg.norm(row)) for row in train_x]
        nearest = sorted(range(len(train_x)), key=lambda i: -cosines[i])[:k]
        classes = [int(train_y[i]) for i in nearest]
        predictions.append(min(set(classes), key=lambda c: (-classes.count(c), c)))
    return predictions
