"""Coates and Ng's networks on CIFAR-10 under the papers' classifier and under ours, with folds for a test set.

    python -m benchmarks.coates -- data=parquet data.root=DIR
    python -m benchmarks.coates --filters 4000 --folds 3 -- data=parquet data.root=DIR
    python -m benchmarks.coates --layers 2 --folds 1 --judges SVM --folder runs/coates -- data=parquet data.root=DIR

The papers' classifier is a linear SVM, one against the rest, on the squared hinge, |w|^2 / 2 + C mean(hinge^2),
features standardised with 0.01 added to each variance. C is chosen on the first fold, from --costs. Ours is train.py's
probe. Both learn from nine tenths of the training images, fold after fold; with --judges test also from all of them for
the test images; the first 1,000 of these are also judged alone (of the files in Hugging Face's layout that were at hand
only these are exact). --layers 2 judges the first layer alone too, from the same features. With --folder a command that
was stopped goes on where it was: it keeps the network, the features and each accuracy. Overrides are train.py's.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.settings import parse, parser, read_config
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.features.extraction import collect, feature_pass
from deepcluster.run.parts import Parts, build_parts
from deepcluster.settings.train import TrainConfig

VARIANCE = 0.01  # added before the root, in the code of the 2011 paper
ROWS = 256  # of features at a time: 20 MB of 19,200 numbers, which the processor's caches hold between two products
KEPT = 2000  # images whose features are kept together


def standardised(x: Tensor, learned: Tensor, *others: Tensor) -> list[Tensor]:
    """The rows `learned` of x (N, M), and others, by the mean and deviation of the first, with a column of ones."""
    mean = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    squares = torch.zeros_like(mean)
    for part in learned.split(4096):
        mean += x[part].double().sum(dim=0) / len(learned)
    for part in learned.split(4096):
        squares += (x[part].double() - mean).square().sum(dim=0)
    scale = (squares / (len(learned) - 1) + VARIANCE).rsqrt().float()
    found = [torch.ones(len(rows), x.shape[1] + 1, device=x.device) for rows in (learned, *others)]
    for copy, rows in zip(found, (learned, *others), strict=True):
        for start in range(0, len(rows), 4096):
            copy[start : start + 4096, :-1] = (x[rows[start : start + 4096]] - mean.float()) * scale
    return found


def squared_hinge(x: Tensor, y: Tensor, cost: float, n_iter: int, start: Tensor | None = None) -> Tensor:
    """Weights (M, classes) of the SVMs for standardised x (N, M); `start`: those of another cost."""
    n_classes = int(y.max()) + 1
    signs = torch.full((len(x), n_classes), -1.0, device=x.device)
    signs[torch.arange(len(x), device=x.device), y] = 1.0
    weight = torch.zeros(x.shape[1], n_classes, device=x.device) if start is None else start.clone()
    weight.requires_grad_()
    solver = torch.optim.LBFGS([weight], max_iter=n_iter, history_size=20, line_search_fn="strong_wolfe")
    block = ROWS if x.device.type == "cpu" else len(x)

    def closure() -> Tensor:
        with torch.no_grad():
            loss, gradient = 0.5 * weight.square().sum(), weight.T.clone()
            for rows, sign in zip(x.split(block), signs.split(block), strict=True):
                margin = (1 - sign * (rows @ weight)).clamp_min(0)
                loss += cost * margin.square().sum() / len(x)
                gradient -= (2 * cost / len(x)) * ((sign * margin).T @ rows)
            weight.grad = gradient.T.contiguous()
            return loss

    solver.step(closure)  # type: ignore[no-untyped-call]  # torch's optimizers are not typed
    return weight.detach()


def accuracy(x: Tensor, y: Tensor, weight: Tensor) -> float:
    return float(((x @ weight).argmax(dim=1) == y).float().mean())


def spread(values: list[float]) -> str:
    deviation = f" +- {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation} %"


class Kept:
    """Accuracies by name, kept in a file of lines; without a folder, in memory."""

    def __init__(self, folder: Path | None, of: str) -> None:
        self.path, self.of_features = None if folder is None else folder / "accuracies.jsonl", of
        lines = self.path.read_text().splitlines() if self.path is not None and self.path.is_file() else []
        self.accuracies: dict[str, list[float]] = dict(json.loads(line) for line in lines)

    def of(self, name: str, measure: Callable[[], list[float]]) -> list[float]:
        name = f"{self.of_features}, {name}"
        if name not in self.accuracies:
            self.accuracies[name] = measure()
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps([name, self.accuracies[name]]) + "\n")
        return self.accuracies[name]


def main(words: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--filters", type=int, nargs="+", default=[1600])
    options.add_argument("--layers", type=int, choices=(1, 2), default=1)
    options.add_argument("--folds", type=int, default=3, help="how many of the ten")
    options.add_argument("--costs", type=float, nargs="+", default=[10.0, 30.0, 100.0, 300.0])
    options.add_argument("--iterations", type=int, default=600, help="at most, of L-BFGS for an SVM")
    options.add_argument("--first", type=int, default=1000, help="so many test images are also judged alone")
    options.add_argument("--judges", nargs="+", choices=("SVM", "probe", "test"), default=["SVM", "probe", "test"])
    options.add_argument("--folder", type=Path, help="where a command that was stopped finds what it had done")
    arguments = parse(options, words)
    experiment = "coates_cifar10" if arguments.layers == 1 else "coates_2_layers_cifar10"
    for n_filters in arguments.filters:
        config = read_config([f"experiment={experiment}", f"arch.n_filters={n_filters}", *arguments.overrides])
        folder = None if arguments.folder is None else arguments.folder / f"{arguments.layers}_{n_filters}"
        clock = time.perf_counter()
        parts = learned_parts(config, folder)
        for line in parts.init_report:
            print(line, flush=True)
        sets = [parts.images, parts.test_images] if "test" in arguments.judges else [parts.images]
        x, y = features(parts, config, [images for images in sets if images is not None], folder)
        print(f"K = {n_filters:,}: {tuple(x.shape)} features after {time.perf_counter() - clock:.0f} s", flush=True)
        torch.set_float32_matmul_precision("highest")
        for layers in range(1, arguments.layers + 1):
            columns = x.shape[1] if layers == arguments.layers else 4 * n_filters
            print(f"  {layers} of {arguments.layers} layers, {columns:,} numbers", flush=True)
            kept = Kept(folder, f"{layers} of {arguments.layers} layers, seed {config.seed}")
            judge(x[:, :columns], y, len(parts.images), config.evaluation.linear_probe, arguments, kept, config.seed)


def learned_parts(config: TrainConfig, folder: Path | None) -> Parts:
    """The run's parts; the network as it was learned, or as the folder keeps it."""
    if folder is None:
        return build_parts(config)
    folder.mkdir(parents=True, exist_ok=True)
    path, settings = folder / "network.pt", folder / "settings.txt"
    if path.is_file():
        if settings.read_text() != str(config):
            raise SystemExit(f"error: {folder} keeps what other overrides gave; choose another --folder")
        parts = build_parts(config, initialise=False)
        parts.backbone.load_state_dict(torch.load(path))
        return parts
    parts = build_parts(config)
    settings.write_text(str(config))
    torch.save(parts.backbone.state_dict(), path)
    return parts


def features(parts: Parts, config: TrainConfig, sets: Sequence[ImageSet], folder: Path | None) -> tuple[Tensor, Tensor]:
    """Features (N, D) and labels (N,) of sets of images, one set after the other."""
    shape = (sum(map(len, sets)), parts.backbone.feature_dim)
    if folder is None:
        x, done = torch.empty(shape, device=parts.device), None
    else:
        path, done = folder / f"{shape[0]}.npy", folder / f"{shape[0]}_done.txt"
        mapped = np.lib.format.open_memmap(path, "r+" if path.is_file() else "w+", np.float32, shape)
        x = torch.from_numpy(mapped)
    n_done = int(done.read_text()) if done is not None and done.is_file() else 0
    end, labels = 0, []
    for images in sets:
        assert images.labels is not None
        labels.append(images.labels)
        source = feature_pass(
            parts.backbone,
            images,
            parts.view(images),
            batch_size=config.extraction.batch_size,
            num_workers=parts.num_workers,
            device=parts.device,
            dtype=torch.float32,
        )
        for part in torch.arange(len(images)).split(KEPT):
            start, end = end, end + len(part)
            if end <= n_done:
                continue
            x[start:end] = collect(source, part).to(x.device)
            if done is not None:
                mapped.flush()
                done.write_text(str(end))
                print(f"  {end:,} images", flush=True)
    return x.to(parts.device), torch.cat(labels).to(parts.device)


def judge(
    x: Tensor,
    y: Tensor,
    n_train: int,
    probe: LinearProbe,
    arguments: argparse.Namespace,
    kept: Kept,
    seed: int,
) -> None:
    """Print both classifiers' accuracies, of features (N, D) whose first rows are those of the training images."""
    order = torch.randperm(n_train, generator=torch.Generator().manual_seed(seed)).to(x.device)
    svm = partial(svms, x, y, kept, arguments.iterations)
    judges, cost, accuracies = arguments.judges, arguments.costs[0], dict[str, list[float]]()
    clock = time.perf_counter()
    for fold, held in enumerate(order.chunk(10)[: arguments.folds]):
        learned, name = order[~torch.isin(order, held)], f"fold {fold + 1}"
        if "SVM" in judges:
            scores = svm(learned, [held], arguments.costs if fold == 0 else [cost], name)
            cost = max(scores, key=lambda cost: scores[cost])
            accuracies.setdefault("SVM", []).append(scores[cost][0])
            if fold == 0:
                by_cost = ", ".join(f"{c:g} {100 * a:.2f}" for c, (a,) in scores.items())
                print(f"  SVM by C, first fold: {by_cost}", flush=True)
        if "probe" in judges:
            accuracy_of_fold, rate = probed(x, y, learned, [held], probe, kept, name, seed)
            # The rate is settled by the first fold, as the cost is.
            probe = dataclasses.replace(probe, learning_rates=[rate])
            accuracies.setdefault("probe", []).append(accuracy_of_fold)
    means = ", ".join(f"{name} {spread(values)}" for name, values in accuracies.items())
    print(f"  held out ({arguments.folds} folds of a tenth, {time.perf_counter() - clock:.0f} s): {means}", flush=True)
    if "test" not in judges:
        return
    first, test = arguments.first, torch.arange(n_train, len(x), device=x.device)
    tested, of_all = [test[:first], test], dict[str, list[float]]()
    if "SVM" in judges:
        of_all["SVM"] = svm(order, tested, [cost], "test")[cost]
    if "probe" in judges:
        of_all["probe"] = probed(x, y, order, tested, probe, kept, "test", seed)
    for name, (of_first, of_test, *_) in of_all.items():
        print(f"  {name}: first {first:,} test images {100 * of_first:.1f} %, all {100 * of_test:.1f} %")


def svms(
    x: Tensor,
    y: Tensor,
    kept: Kept,
    n_iter: int,
    learned: Tensor,
    tested: Sequence[Tensor],
    costs: Sequence[float],
    name: str,
) -> dict[float, list[float]]:
    """C -> accuracy on each set of rows, of SVMs of other rows; each begins at the weights of the one before."""
    rows: list[Tensor] = []
    weight: Tensor | None = None

    def measure(cost: float) -> list[float]:
        nonlocal rows, weight
        rows = rows or standardised(x, learned, *tested)
        weight = squared_hinge(rows[0], y[learned], cost, n_iter, weight)
        return [accuracy(some, y[which], weight) for some, which in zip(rows[1:], tested, strict=True)]

    return {cost: kept.of(f"{name}, SVM, C = {cost:g}", partial(measure, cost)) for cost in costs}


def probed(
    x: Tensor,
    y: Tensor,
    learned: Tensor,
    tested: Sequence[Tensor],
    probe: LinearProbe,
    kept: Kept,
    name: str,
    seed: int,
) -> list[float]:
    """The probe's accuracy on each set of rows, and its learning rate."""

    def measure() -> list[float]:
        line = fit_probe(x[learned], y[learned], x[tested[-1]], y[tested[-1]], probe, seed)
        answers = [(x[which] @ line.weight.T + line.bias).argmax(dim=1) for which in tested]
        right = [float((one == y[which]).float().mean()) for one, which in zip(answers, tested, strict=True)]
        return [*right, line.learning_rate]

    return kept.of(f"{name}, probe", measure)


if __name__ == "__main__":
    main()
