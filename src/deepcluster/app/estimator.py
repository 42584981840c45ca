"""`from deepcluster import DeepCluster`: the runs of the command line with scikit-learn's habits.

`fit` is `deepcluster DIR` (folder_command.py chooses what is not given); arrays come back as plain numpy.
"""

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from datetime import datetime
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
from deepcluster.evaluation.bundle import check_out
from deepcluster.evaluation.export import Export
from deepcluster.run.predict import Predicted, context_of_model, context_of_pictures, names_of, predicted
from deepcluster.run.train import train
from deepcluster.settings.run_folder import LINKS, make_folder, remove_unused, run_folder
from deepcluster.settings.stored import read_stored_config
from deepcluster.system.atomic import locked
from deepcluster.weights import hub
from deepcluster.weights.recognise import BUNDLE

Images = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class DeepCluster(ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Groups of images, and a network that has learned from them, from a folder or a list of paths.

    Args:
        k: number of clusters; None: about 1.2 times the root of the number of images; "auto": a scan chooses it.
        minutes: how long `fit` may take; network, image size and epochs follow from it.
        seed: of all random numbers.
        output_dir: the run's folder; None: a new one under runs/.
        settings: KEY=VALUE words of `deepcluster train`, which overrule what would be chosen.
        verbose: print what a run prints.

    Attributes:
        labels_: (N,) int64, the cluster of each image; -1 for those of a list that could not be read.
        paths_: the N images, in the order of `labels_`.
        run_: the run's folder, with its page, files and checkpoints.
        model_: what predicts: the run's folder, or a bundle's. :meth:`from_pretrained` gives this alone, and `names_`.
        names_: cluster (as text) -> name, of a bundle.
        summary_: the content of its summary.json.
    """

    def __init__(
        self,
        k: int | str | None = None,
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
        if not isinstance(X, str | os.PathLike):
            _listed(X)  # before a folder is made
        if self.output_dir is not None:
            run_folder(None, os.fspath(self.output_dir), "")  # refuses that of another run
        run = Path(self.output_dir or make_folder(f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S}")).absolute()
        run.mkdir(parents=True, exist_ok=True)
        try:
            root, paths = _root(X, run / LINKS)
            with nullcontext() if self.verbose else _silence(), locked(run), _interruptible():
                register()
                self.summary_ = train(composed(settings_for(str(root), typed)), run)
        except Exception:
            remove_unused(run)
            raise
        return self._read(run, paths)

    def predict(self, X: Images) -> NDArray[np.int64]:
        """The cluster (N,) of each image: that of the nearest centroid.

        Raises:
            ValueError, FileNotFoundError: if an image is missing or broken.
        """
        return self._of_pictures(X, lambda batch: batch.clusters).astype(np.int64)

    def transform(self, X: Images) -> NDArray[np.float32]:
        """The network's features (N, D) of each image, as in a run's embeddings.npy.

        Raises:
            ValueError, FileNotFoundError: if an image is missing or broken.
        """
        return self._of_pictures(X, lambda batch: batch.features).astype(np.float32)

    def save_pretrained(self, folder: str | os.PathLike[str], *, license: str = "unknown") -> None:
        """Write a bundle: one folder with all that :meth:`from_pretrained` and other programs need.

        Args:
            folder: a new one, or that of an earlier bundle.
            license: the licence's identifier on Hugging Face's hub, for the card; the card of a model that is from a
                bundle stays as it is.

        Raises:
            ValueError: if the folder holds other files.
        """
        context, out = context_of_model(self._fitted(), seed=self.seed), Path(folder)
        if context.stored.format == BUNDLE:
            check_out(out)
            shutil.copytree(context.stored.home, out, dirs_exist_ok=True)
            return
        with nullcontext() if self.verbose else _silence():
            Export(formats=["bundle", "onnx"], out=str(out), license=license).run(context)

    def push(self, name: str, *, private: bool = True, license: str = "unknown") -> str:
        """Upload the bundle to Hugging Face's hub, as whom its library is logged in.

        Args:
            name: OWNER/NAME.
            private: seen by its owner alone, if it is new; a public one needs a licence.
            license: see :meth:`save_pretrained`.

        Returns:
            Its address.

        Raises:
            ImportError: if huggingface_hub is not installed.
            ValueError: if the hub refuses, or it is public without a licence.
        """
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / name.rpartition("/")[2]
            self.save_pretrained(bundle, license=license)
            return hub.push(bundle, name, private=private)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, revision: str | None = None) -> "DeepCluster":
        """The model of a bundle, which predicts and transforms; it knows no images of its own.

        Args:
            name: the bundle's folder, or OWNER/NAME on Hugging Face's hub.
            revision: of the hub's: a branch, tag or commit.

        Raises:
            FileNotFoundError: if there is no such folder, or a file is missing in it.
            ImportError: if it is on the hub and huggingface_hub is not installed.
            ValueError: if a file is damaged, or there are no clusters.
        """
        model = cls()
        model.model_ = str(hub.local_folder(os.fspath(name), revision).absolute())
        model.names_ = names_of(context_of_model(model.model_))
        return model

    @classmethod
    def from_run(cls, run: str | os.PathLike[str]) -> "DeepCluster":
        """The model of a run's folder, also of one that the command line made."""
        return cls(output_dir=run)._read(Path(run).absolute(), None)

    def _fitted(self) -> str:
        """The run or the bundle."""
        if not hasattr(self, "model_"):
            how = "call fit, or DeepCluster.from_pretrained(BUNDLE), or DeepCluster.from_run(RUN)"
            raise NotFittedError(f"this DeepCluster is not fitted yet; {how}")
        return self.model_

    def _read(self, run: Path, paths: list[Path] | None) -> "DeepCluster":
        history = read_assignments(run, "final")
        labels = np.asarray(history.labels[-1], dtype=np.int64)
        root = read_stored_config(run / "config.yaml").data.root
        self.run_, self.model_ = run, str(run)
        self.labels_ = labels
        self.paths_ = [str(Path(root or "") / sample) for sample in history.samples]
        if paths is not None:
            self.labels_ = np.full(len(paths), -1, dtype=np.int64)
            self.labels_[[int(sample.partition("_")[0]) for sample in history.samples]] = labels
            self.paths_ = [str(path) for path in paths]
        return self

    def _of_pictures(self, X: Images, what: Callable[[Predicted], Tensor]) -> NDArray[Any]:
        """Something of all images, in their order.

        Args:
            what: gives it for a batch.
        """
        model = self._fitted()
        with nullcontext() if self.verbose else _silence():
            paths = [str(X)] if isinstance(X, str | os.PathLike) else [str(path) for path in _listed(X)]
            context = context_of_pictures(model, paths, seed=self.seed)
            return np.asarray(torch.cat([what(batch) for batch in predicted(context)]).numpy())


def _root(X: Images, links: Path) -> tuple[Path, list[Path] | None]:
    """The folder of the images; of a list a folder of links to them, in its order by name, and the list."""
    if isinstance(X, str | os.PathLike):
        return Path(X).absolute(), None
    paths = [path.absolute() for path in _listed(X)]
    links.mkdir(parents=True, exist_ok=True)
    for old in links.iterdir():  # of a fit that was refused
        if old.is_symlink():
            old.unlink()
    for number, path in enumerate(paths):
        (links / f"{number:09}_{path.name}").symlink_to(path)
    return links, paths


def _listed(X: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The paths of a list, each a file."""
    if isinstance(X, np.ndarray) and X.ndim > 1:
        raise TypeError("give a folder, or a list of paths of images, not their pixels")
    paths = [Path(path) for path in X]
    if not paths:
        raise ValueError("the list names no images; give a folder, or a list of paths of images")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is no file; give a folder, or a list of paths of images")
    return paths


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
