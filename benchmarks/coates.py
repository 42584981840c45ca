"""Coates and Ng's network on CIFAR-10 under the papers' classifier and under ours, with folds in place of the test set.

    python -m benchmarks.coates -- data=parquet data.root=DIR
    python -m benchmarks.coates --filters 4000 --folds 3 -- data=parquet data.root=DIR

The papers' classifier is a linear SVM, one against the rest, on the squared hinge, |w|^2 / 2 + C mean(hinge^2),
features standardised with 0.01 added to each variance. C is chosen on the first fold, from --costs. Ours is train.py's
probe. Both learn from nine tenths of the training images, fold after fold, and from all of them for the test images;
the first 1,000 of these are also judged alone (of the files in Hugging Face's layout that were at hand only these are
exact). Overrides are train.py's.
"""

import argparse
import dataclasses
import statistics
import time

import torch
from torch import Tensor

from benchmarks.settings import parse, parser, read_config
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.features.extraction import collect, feature_pass
from deepcluster.run.parts import build_parts

VARIANCE = 0.01  # added before the root, in the code of the 2011 paper
MAX_ITER = 600


def standardised(x: Tensor, *others: Tensor) -> list[Tensor]:
    """Copies of x (N, M) and others by x's mean and deviation, with a column of ones."""
    mean = x.mean(dim=0, dtype=torch.float64)
    squares = torch.zeros_like(mean)
    for part in torch.split(x, 4096):
        squares += (part.double() - mean).square().sum(dim=0)
    scale = (squares / (len(x) - 1) + VARIANCE).rsqrt().float()
    return [torch.cat([(part - mean.float()) * scale, torch.ones_like(part[:, :1])], dim=1) for part in (x, *others)]


def squared_hinge(x: Tensor, y: Tensor, cost: float) -> Tensor:
    """Weights (M, classes) of the SVMs for standardised x (N, M)."""
    n_classes = int(y.max()) + 1
    signs = torch.full((len(x), n_classes), -1.0, device=x.device)
    signs[torch.arange(len(x), device=x.device), y] = 1.0
    weight = torch.zeros(x.shape[1], n_classes, device=x.device, requires_grad=True)
    solver = torch.optim.LBFGS([weight], max_iter=MAX_ITER, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        with torch.no_grad():
            margin = (1 - signs * (x @ weight)).clamp_min(0)
            weight.grad = weight - (2 * cost / len(x)) * (x.T @ (signs * margin))
            return 0.5 * weight.square().sum() + cost * margin.square().sum() / len(x)

    solver.step(closure)  # type: ignore[no-untyped-call]  # torch's optimizers are not typed
    return weight.detach()


def accuracy(x: Tensor, y: Tensor, weight: Tensor) -> float:
    return float(((x @ weight).argmax(dim=1) == y).float().mean())


def spread(values: list[float]) -> str:
    deviation = f" +- {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation} %"


def main(words: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--filters", type=int, nargs="+", default=[1600])
    options.add_argument("--folds", type=int, default=3, help="how many of the ten")
    options.add_argument("--costs", type=float, nargs="+", default=[10.0, 30.0, 100.0, 300.0])
    options.add_argument("--first", type=int, default=1000, help="so many test images are also judged alone")
    arguments = parse(options, words)
    for n_filters in arguments.filters:
        config = read_config(["experiment=coates_cifar10", f"arch.n_filters={n_filters}", *arguments.overrides])
        clock = time.perf_counter()
        parts = build_parts(config)

        def features(images: ImageSet) -> tuple[Tensor, Tensor]:
            assert images.labels is not None
            source = feature_pass(
                parts.backbone,  # noqa: B023
                images,
                parts.view(images),  # noqa: B023
                batch_size=config.extraction.batch_size,  # noqa: B023
                num_workers=parts.num_workers,  # noqa: B023
                device=parts.device,  # noqa: B023
                dtype=torch.float32,
            )
            return collect(source, torch.arange(len(images))).to(parts.device), images.labels.to(parts.device)  # noqa: B023

        x, y = features(parts.images)
        assert parts.test_images is not None
        test_x, test_y = features(parts.test_images)
        print(f"K = {n_filters:,}: {tuple(x.shape)} features after {time.perf_counter() - clock:.0f} s", flush=True)
        torch.set_float32_matmul_precision("highest")
        judge(x, y, test_x, test_y, config.evaluation.linear_probe, arguments, seed=config.seed)


def judge(
    x: Tensor,
    y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    probe: LinearProbe,
    arguments: argparse.Namespace,
    *,
    seed: int,
) -> None:
    """Print both classifiers' accuracies."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    accuracies: dict[str, list[float]] = {"SVM": [], "probe": []}
    best_cost, first = arguments.costs[0], arguments.first
    clock = time.perf_counter()
    for fold, held in enumerate(order.chunk(10)[: arguments.folds]):
        kept = order[~torch.isin(order, held)]
        learned, tested = standardised(x[kept], x[held])
        if fold == 0:
            scores = {
                cost: accuracy(tested, y[held], squared_hinge(learned, y[kept], cost)) for cost in arguments.costs
            }
            best_cost = max(scores, key=lambda cost: scores[cost])
            print("  SVM by C, first fold: " + ", ".join(f"{c:g} {100 * a:.2f}" for c, a in scores.items()), flush=True)
        accuracies["SVM"].append(accuracy(tested, y[held], squared_hinge(learned, y[kept], best_cost)))
        del learned, tested
        result = fit_probe(x[kept], y[kept], x[held], y[held], probe, seed)
        # The rate is settled by the first fold, as the cost is.
        probe = dataclasses.replace(probe, learning_rates=[result.learning_rate])
        accuracies["probe"].append(result.accuracy)
    means = ", ".join(f"{name} {spread(values)}" for name, values in accuracies.items())
    print(f"  held out ({arguments.folds} folds of a tenth, {time.perf_counter() - clock:.0f} s): {means}", flush=True)
    learned, tested = standardised(x, test_x)
    weight = squared_hinge(learned, y, best_cost)
    line = fit_probe(x, y, test_x, test_y, probe, seed)
    scores_of = {"SVM": (tested @ weight).argmax(dim=1), "probe": (test_x @ line.weight.T + line.bias).argmax(dim=1)}
    for name, answers in scores_of.items():
        right = (answers == test_y).float()
        print(
            f"  {name}: first {first:,} test images {100 * right[:first].mean():.1f} %, all {100 * right.mean():.1f} %"
        )


if __name__ == "__main__":
    main()
