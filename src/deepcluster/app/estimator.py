"""`from deepcluster import DeepCluster`: the runs of the command line with scikit-learn's habits.

`fit` is `deepcluster DIR` (folder_command.py chooses what is not given); arrays come back as plain numpy.
"""

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from deepcluster.app.folder_command import composed, settings_for
from deepcluster.app.hydra_setup import register
from deepcluster.clustering.history import read_assignments
from deepcluster.data.settings import Folder
from deepcluster.evaluation.clusters.clustered_images import stored_assignment
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.precision import choose_precision
from deepcluster.features.settings import Extraction
from deepcluster.run.evaluate import context_of_file
from deepcluster.run.train import train
from deepcluster.settings.composed import as_dataclass
from deepcluster.settings.run_folder import make_folder
from deepcluster.settings.stored import read_stored_config
from deepcluster.system.atomic import locked
from deepcluster.system.progress import Progress

Images = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
LINKS = "images"  # in a run's folder: links to the images of a list


class DeepCluster(ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Groups of images, and a network that has learned from them, from a folder or a list of paths.

    Args:
        k: number of clusters; None: about 1.2 times the root of the number of images.
        minutes: how long `fit` may take; network, image size and epochs follow from it.
        seed: of all random numbers.
        output_dir: the run's folder; None: a new one under runs/.
        settings: KEY=VALUE words of `deepcluster train`, which overrule what would be chosen.
        verbose: print what a run prints.

    Attributes:
        labels_: (N,) int64, the cluster of each image; -1 for those of a list that could not be read.
        paths_: the N images, in the order of `labels_`.
        run_: the run's folder, with its page, files and checkpoints.
        summary_: the content of its summary.json.
    """

    def __init__(
        self,
        k: int | None = None,
        *,
        minutes: float = 10.0,
        seed: int = 1,
        output_dir: str | os.PathLike[str] | None = None,
        settings: Sequence[str] = (),
        verbose: bool = True,
    ) -> None:
        self.k = k
        self.minutes = minutes
        self.seed = seed
        self.output_dir = output_dir
        self.settings = settings
        self.verbose = verbose

    def fit(self, X: Images, y: object = None) -> "DeepCluster":
        """Train on images and cluster them.

        Args:
            X: a folder (class folders or any tree), or a list of paths of images.
            y: not used.

        Raises:
            ValueError, FileNotFoundError: if a setting is not possible, or images are missing or broken.
        """
        typed = [f"minutes={self.minutes}", f"seed={self.seed}", *self.settings]
        if self.k is not None:
            typed.append(f"clustering.k={self.k}")
        run = Path(self.output_dir or make_folder(f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S}")).absolute()
        run.mkdir(parents=True, exist_ok=True)
        root, paths = _root(X, run / LINKS)
        with nullcontext() if self.verbose else _silence(), locked(run), _interruptible():
            register()
            self.summary_ = train(composed(settings_for(str(root), typed)), run)
        return self._read(run, paths)

    def predict(self, X: Images) -> NDArray[np.int64]:
        """The cluster (N,) of each image: that of the nearest centroid."""
        return self._of_features(X, lambda context: stored_assignment(context).apply).astype(np.int64)

    def transform(self, X: Images) -> NDArray[np.float32]:
        """The network's features (N, D) of each image, as in a run's embeddings.npy."""
        return self._of_features(X, lambda context: torch.Tensor.float).astype(np.float32)

    @classmethod
    def from_run(cls, run: str | os.PathLike[str]) -> "DeepCluster":
        """The model of a run's folder, also of one that the command line made."""
        return cls(output_dir=run)._read(Path(run).absolute(), None)

    def _read(self, run: Path, paths: list[Path] | None) -> "DeepCluster":
        history = read_assignments(run, "final")
        labels = np.asarray(history.labels[-1], dtype=np.int64)
        root = read_stored_config(run / "config.yaml").data.root
        self.run_ = run
        self.labels_ = labels
        self.paths_ = [str(Path(root or "") / sample) for sample in history.samples]
        if paths is not None:
            self.labels_ = np.full(len(paths), -1, dtype=np.int64)
            self.labels_[[int(sample.partition("_")[0]) for sample in history.samples]] = labels
            self.paths_ = [str(path) for path in paths]
        return self

    def _of_features(self, X: Images, what: Callable[[EvaluationContext], Callable[[Tensor], Tensor]]) -> NDArray[Any]:
        """What a function makes of the features (B, D) of all images, in their order.

        Args:
            what: the context of the evaluation -> the function.
        """
        if not hasattr(self, "run_"):
            raise NotFittedError("this DeepCluster is not fitted yet; call fit, or DeepCluster.from_run(RUN)")
        with tempfile.TemporaryDirectory() as folder, nullcontext() if self.verbose else _silence():
            root, _ = _root(X, Path(folder) / LINKS)
            reading = as_dataclass(read_stored_config(self.run_ / "config.yaml")).reading
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            context_of = partial(
                EvaluationContext,
                extraction=Extraction(),
                folder=Path(folder),
                seed=self.seed,
                progress=Progress(),
                device=device,
                dtype=choose_precision("auto", device).extraction,
            )
            unremembered = replace(reading, cache_dir="none")  # links, which are gone in a moment
            context = context_of_file(str(self.run_), Folder(root=str(root)), unremembered, None, context_of)
            images, function = context.train_images, what(context)
            feature_pass = context.feature_pass(images, convolutional=False)
            order, made = [], []
            for indices, features in feature_pass.stream(torch.arange(len(images))):
                order.append(indices)
                made.append(function(features.float().cpu()))
        return np.asarray(torch.cat(made)[torch.cat(order).argsort()].numpy())


def _root(X: Images, links: Path) -> tuple[Path, list[Path] | None]:
    """The folder of the images; of a list a folder of links to them, in its order by name, and the list."""
    if isinstance(X, str | os.PathLike):
        return Path(X).absolute(), None
    if isinstance(X, np.ndarray) and X.ndim > 1:
        raise TypeError("give a folder, or a list of paths of images, not their pixels")
    paths = [Path(path).absolute() for path in X]
    links.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is no file; give a folder, or a list of paths of images")
        (links / f"{number:09}_{path.name}").symlink_to(path)
    return links, paths


@contextmanager
def _silence() -> Iterator[None]:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning ends the process on Ctrl-C; a notebook goes on."""
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
