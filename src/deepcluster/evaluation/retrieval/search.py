"""The steps of evaluation=retrieval: check the set, compute descriptors, rank and score. Next: region_features.py."""

import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from deepcluster.data.images import evenly_spaced
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.retrieval.descriptors import (
    Reduce,
    check_queries,
    describe,
    learn_whitening,
    region_features,
)
from deepcluster.evaluation.retrieval.ranking import augment_database, expand_queries, rank
from deepcluster.evaluation.retrieval.region_features import Item, RegionFeatures
from deepcluster.evaluation.retrieval.report import Search, table_lines, write_queries
from deepcluster.evaluation.retrieval.scores import answers, key_suffix, scores
from deepcluster.evaluation.retrieval.sets import RetrievalSet, images_in

VARIANTS = ("_aqe", "_dba", "_dba_aqe")  # ends of the keys of results with expansion or augmentation


@dataclass(kw_only=True)
class DescribedSet:
    """A set without its broken images, and the descriptors of its queries (Q, P) and its database (N, P)."""

    searched: RetrievalSet
    queries: Tensor
    database: Tensor


def check_set(searched: RetrievalSet, *, n_expansion: int, n_augmentation: int) -> None:
    """Check that a set suits the numbers of neighbours for expansion and augmentation.

    Raises:
        ValueError: if it has too few images, or two results would have the same key.
    """
    n_images = len(searched.database)
    for name, value, limit in (("aqe", n_expansion, n_images), ("dba", n_augmentation, n_images - 1)):
        if value > limit:
            raise ValueError(f"evaluation.{name}={value} is more than the {limit} images it can take; lower it")
    owners: dict[str, str] = dict.fromkeys(VARIANTS, "expansion and augmentation")
    for group in searched.folders:
        if key_suffix(group) in owners:
            raise ValueError(
                f"evaluation.queries: the results of {group} and of {owners[key_suffix(group)]} would have the same "
                "name; rename the folder, or name the others in evaluation.queries"
            )
        owners[key_suffix(group)] = group


def images_for_pca(root: str, at_most: int | None) -> list[Item]:
    """At most `at_most` images below a folder (None: all), spread evenly.

    Raises:
        FileNotFoundError: if there are none.
    """
    folder = Path(root)
    images = images_in(folder)
    if not images:
        raise FileNotFoundError(
            f"evaluation.pca_root={folder}: no images in that folder or below it; give another folder"
        )
    return [(images[i], None) for i in evenly_spaced(len(images), at_most)]


def describe_set(
    context: EvaluationContext,
    searched: RetrievalSet,
    *,
    stage: str,
    levels: int,
    sizes: list[int],
    pca: str,
    others: list[Item],
    n_pca: int,
) -> DescribedSet:
    """Compute the descriptors of all images; broken images are removed from the database.

    Args:
        stage: stage whose maps are used.
        levels: number of levels of R-MAC's regions.
        sizes: larger sides of the images in pixels.
        pca: what PCA-whitening is fitted on: "other", "database" or "none".
        others: the images for "other".
        n_pca: number of dimensions after PCA.

    Raises:
        ValueError: if a query cannot be decoded, or an image is too small for the network.
    """
    say, n = context.progress.say, len(searched.database)
    for note in searched.notes:
        say(note)
    say(f"{len(searched.queries):,} queries in {n:,} images ({searched.layout}), {stage}, larger side {sizes}")
    started = time.perf_counter()
    features = region_features(context, stage, levels)
    # Queries first: a region too small for the network is refused before hours are spent on a large database.
    queries: list[Item] = [(query.path, query.box) for query in searched.queries]
    with context.progress.bar("queries", len(queries) * len(sizes), "img") as advance:
        check_queries(features, queries, sizes, advance)
    images: list[Item] = [(path, None) for path in searched.database]
    if pca == "database":
        say("PCA-whitening is fitted on the searched images themselves (evaluation.pca=database)")
    fitted_on = {"none": [], "other": others, "database": images}[pca]
    reduce = _whitening(context, features, fitted_on, sizes, n_pca) if fitted_on else None
    with context.progress.bar("regions", (n + len(queries)) * len(sizes), "img") as advance:
        database, broken = describe(features, images, sizes, reduce, advance)
        of_queries, _ = describe(features, queries, sizes, reduce, advance)
    if broken:
        first, reason = next(iter(broken.items()))
        say(f"{len(broken)} images left out that cannot be decoded, first {searched.database[first]}: {reason}")
        database = database[[i for i in range(n) if i not in broken]]
    say(f"descriptors of {database.shape[1]} numbers, {time.perf_counter() - started:.0f} s")
    return DescribedSet(searched=searched.without(broken), queries=of_queries, database=database)


def _whitening(
    context: EvaluationContext, features: RegionFeatures, items: list[Item], sizes: list[int], n_pca: int
) -> Reduce:
    """Fit PCA-whitening and L2 on the regions of all sizes, and print how well it went."""
    with context.progress.bar("regions for PCA", len(items) * len(sizes), "img") as advance:
        fitted, n_used = learn_whitening(features, items, sizes, n_pca, advance)
    broken = f" ({len(items) - n_used} others cannot be decoded)" if n_used < len(items) else ""
    share = f"{fitted.explained_variance:.1%} of the variance"
    context.progress.say(f"PCA-whitening, fitted on {n_used:,} images{broken}, keeps {share}")
    return fitted.apply


def rank_and_score(
    context: EvaluationContext, described: DescribedSet, *, n_expansion: int, n_augmentation: int
) -> Search:
    """Rank the database for every query and score the rankings; writes queries.csv and prints a table.

    Raises:
        ValueError: if no query has a positive.
    """
    searched, queries, database = described.searched, described.queries, described.database
    augmented = augment_database(database, n_augmentation)
    rankings = {"": rank(queries, database)}
    if n_expansion:
        rankings["_aqe"] = rank(expand_queries(queries, database, n_expansion), database)
    if n_augmentation:
        rankings["_dba"] = rank(queries, augmented)
    if n_expansion and n_augmentation:
        rankings["_dba_aqe"] = rank(expand_queries(queries, augmented, n_expansion), augmented)
    by_variant = {variant: answers(searched, ranking) for variant, ranking in rankings.items()}
    if not by_variant[""]:
        raise ValueError(f"evaluation.root={searched.root}: no query has a positive, so nothing can be measured")
    numbers: dict[str, float] = {"n_database": len(database), "n_queries": len(queries)}
    rows: dict[str, dict[str, float]] = {}
    for variant, variant_answers in by_variant.items():
        for name, measures in scores(searched, variant_answers).items():
            rows[f"{name or 'all'} {variant.strip('_').replace('_', ' + ')}".rstrip()] = measures
            numbers |= {f"{measure}{key_suffix(name)}{variant}": value for measure, value in measures.items()}
    for line in table_lines(rows):
        context.progress.say(line)
    file = context.folder / "queries.csv"
    write_queries(file, searched, rankings[""], by_variant)
    context.progress.say(f"each query  {file}")
    return Search(searched=searched, rankings=rankings[""], answers=by_variant[""], numbers=numbers)
