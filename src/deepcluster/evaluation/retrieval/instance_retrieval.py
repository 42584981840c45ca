"""Instance retrieval with R-MAC: how well the features find other pictures of the same object. No training.

images --region_features--> regions --PCA-whitening, rmac--> descriptors --ranking--> retrieval_scores
"""

import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from deepcluster.data.images import evenly_spaced
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.retrieval.descriptors import (
    Reduce,
    check_readable,
    describe,
    learn_whitening,
    region_features,
)
from deepcluster.evaluation.retrieval.layouts import LAYOUTS, retrieval_set
from deepcluster.evaluation.retrieval.ranking import augment_database, expand_queries, rank
from deepcluster.evaluation.retrieval.region_features import Item, RegionFeatures
from deepcluster.evaluation.retrieval.report import Search, printed, table
from deepcluster.evaluation.retrieval.scores import answers, key, scores
from deepcluster.evaluation.retrieval.sets import RetrievalSet, images_in
from deepcluster.system.atomic import write_atomically

# original: larger side 1024, for networks that learned from crops of 224. The same ratio shows a network of smaller
# crops details at the size at which it knows them.
SIZE_PER_IMAGE_SIZE = 1024 / 224
PCA = ("other", "database", "none")


@dataclass(kw_only=True)
class Retrieval(Evaluator):
    """Search a database of images with queries, by the dot product of R-MAC descriptors.

    Args:
        kind: "retrieval".
        root: the folder of the set.
        layout: "plain" (reference/ID.jpg, FOLDER/ID.jpg), "oxford" (Oxford5k, Paris6k), "revisited" (ROxford5k,
            RParis6k), or "auto": told by the files (data/retrieval_layouts.py).
        reference: plain layout: the database's folder, in any case.
        queries: plain layout: the query folders; null: every other folder with images.
        ground_truth: revisited layout: the file's name in root; null: the only gnd_*.pkl or gnd_*.json.
        stage: whose maps are looked at; null: the last (original: conv5_3 of VGG-16, without its pooling).
        sizes: larger side of the images in pixels; with several, the descriptors of all sizes are added. null: 1024
            for a network of 224 pixels as in 2018, in proportion for others.
        levels: of R-MAC's regions; original: 3.
        pca: images that PCA-whitening of the regions is learned on: "other" (pca_root), "database" (the searched images
            themselves: no fair comparison with papers), "none" (no PCA). null: other if pca_root is given, else none.
        pca_root: a folder of other images, at any depth; original: Paris6k for Oxford5k and the other way round.
        pca_images: learn PCA on at most so many of them, spread evenly; null: on all.
        n_pca: dimensions after PCA; all of them if the stage has fewer channels. original: 512.
        aqe: average query expansion with so many best answers; 0: off. The results without it are there as well.
        dba: database-side augmentation with so many neighbours; 0: off. The same.
    """

    kind: str = "retrieval"
    root: str | None = None
    layout: str = "auto"
    reference: str = "reference"
    queries: list[str] | None = None
    ground_truth: str | None = None
    stage: str | None = None
    sizes: list[int] | None = None
    levels: int = 3
    pca: str | None = None
    pca_root: str | None = None
    pca_images: int | None = None
    n_pca: int = 512
    aqe: int = 0
    dba: int = 0

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"evaluation.layout must be one of {', '.join(LAYOUTS)}, got {self.layout}")
        if self.sizes is not None and (not self.sizes or min(self.sizes) < 1 or len({*self.sizes}) < len(self.sizes)):
            raise ValueError(f"evaluation.sizes must be different sizes in pixels, got {list(self.sizes)}")
        if self.queries is not None and not self.queries:
            raise ValueError("evaluation.queries must name a folder, or be null: every other folder")
        for name in ("levels", "n_pca"):
            if getattr(self, name) < 1:
                raise ValueError(f"evaluation.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("aqe", "dba"):
            if getattr(self, name) < 0:
                raise ValueError(f"evaluation.{name} must be at least 0 (off), got {getattr(self, name)}")
        if self.pca is not None and self.pca not in PCA:
            raise ValueError(f"evaluation.pca must be null or one of {', '.join(PCA)}, got {self.pca}")
        if self.pca == "other" and self.pca_root is None:
            raise ValueError("evaluation.pca=other needs evaluation.pca_root=DIR, a folder of other images")
        if self.pca_images is not None and self.pca_images < 2:
            raise ValueError(f"evaluation.pca_images must be at least 2, got {self.pca_images}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Search; write queries.csv, and keep the images' regions in regions/ for another call with this output_dir.

        Returns:
            n_database, n_queries, and what :func:`~deepcluster.evaluation.retrieval.scores.scores` gives; names of
            results with expansion or augmentation end in _aqe, _dba, _dba_aqe.

        Raises:
            FileNotFoundError, ValueError: if set, network and settings do not fit together.
        """
        return self.search(context).numbers

    def search(self, context: EvaluationContext) -> Search:
        """Do it, and keep the rankings."""
        say = context.progress.say
        stage = self.stage or (context.backbone.stages or ["none"])[-1]
        context.backbone.check_stage(stage)
        found = self._set()
        others = self._pca_images()
        sizes = list(self.sizes or [round(SIZE_PER_IMAGE_SIZE * context.card["image_size"])])
        for note in found.notes:
            say(note)
        n = len(found.database)
        say(f"{len(found.queries):,} queries in {n:,} images ({found.layout}), {stage}, larger side {sizes}")
        started = time.perf_counter()
        features = region_features(context, stage, self.levels)
        # Queries first: a region that is too small for the network is told before the hours of a large database.
        queries = [(query.path, query.box) for query in found.queries]
        with context.progress.bar("queries", len(queries) * len(sizes), "img") as advance:
            check_readable(features, queries, sizes, advance)
        reduce = self._reduction(context, features, found, others, sizes)
        searched: list[Item] = [(path, None) for path in found.database]
        with context.progress.bar("regions", (n + len(queries)) * len(sizes), "img") as advance:
            database, broken = describe(features, searched, sizes, reduce, advance)
            asked, _ = describe(features, queries, sizes, reduce, advance)
        if broken:
            first, why = next(iter(broken.items()))
            say(f"{len(broken)} images left out that cannot be decoded, first {found.database[first]}: {why}")
            database = database[[i for i in range(n) if i not in broken]]
            found = found.without(broken)
        say(f"descriptors of {database.shape[1]} numbers, {time.perf_counter() - started:.0f} s")
        return self._judge(context, found, asked, database)

    def _judge(self, context: EvaluationContext, found: RetrievalSet, asked: Tensor, database: Tensor) -> Search:
        augmented = augment_database(database, self.dba)
        variants = {"": rank(asked, database)}
        if self.aqe:
            variants["_aqe"] = rank(expand_queries(asked, database, self.aqe), database)
        if self.dba:
            variants["_dba"] = rank(asked, augmented)
        if self.aqe and self.dba:
            variants["_dba_aqe"] = rank(expand_queries(asked, augmented, self.aqe), augmented)
        given = {name: answers(found, rankings) for name, rankings in variants.items()}
        if not given[""]:
            raise ValueError(f"evaluation.root={self.root}: no query has a positive, so nothing can be measured")
        numbers: dict[str, float] = {"n_database": len(database), "n_queries": len(asked)}
        rows: dict[str, dict[str, float]] = {}
        for variant, of_variant in given.items():
            for name, measures in scores(found, of_variant).items():
                rows[f"{name or 'all'} {variant.strip('_').replace('_', ' + ')}".rstrip()] = measures
                numbers |= {f"{measure}{key(name)}{variant}": value for measure, value in measures.items()}
        for line in printed(rows):
            context.progress.say(line)
        file = context.folder / "queries.csv"
        write_atomically(file, table(found, variants[""], given).encode("utf-8", "surrogateescape"))
        context.progress.say(f"each query  {file}")
        return Search(found=found, rankings=variants[""], answers=given[""], numbers=numbers)

    def _set(self) -> RetrievalSet:
        if self.root is None:
            raise ValueError("evaluation=retrieval needs evaluation.root=DIR, the folder of a retrieval set")
        found = retrieval_set(
            self.root, self.layout, reference=self.reference, queries=self.queries, ground_truth=self.ground_truth
        )
        for name, limit in (("aqe", len(found.database)), ("dba", len(found.database) - 1)):
            if getattr(self, name) > limit:
                raise ValueError(f"evaluation.{name}={getattr(self, name)} is more than the {limit} images it can take")
        groups = sorted({query.group for query in found.queries}) if found.layout == "plain" else []
        taken: dict[str, str] = {variant: "expansion and augmentation" for variant in ("_aqe", "_dba", "_dba_aqe")}
        for group in groups:
            if key(group) in taken:
                raise ValueError(
                    f"evaluation.queries: the results of {group} and of {taken[key(group)]} would have the same name; "
                    "rename the folder, or name the others in evaluation.queries"
                )
            taken[key(group)] = group
        return found

    def _pca_images(self) -> list[Item]:
        """The other images that PCA is learned on, if it is."""
        if self.pca_root is None or self.pca not in (None, "other"):
            return []
        folder = Path(self.pca_root).expanduser()
        images = images_in(folder)
        if not images:
            raise FileNotFoundError(f"evaluation.pca_root={folder}: no images in that folder or under it")
        return [(images[i], None) for i in evenly_spaced(len(images), self.pca_images)]

    def _reduction(
        self,
        context: EvaluationContext,
        features: RegionFeatures,
        found: RetrievalSet,
        others: list[Item],
        sizes: list[int],
    ) -> Reduce | None:
        """PCA-whitening and L2 of regions, learned on those of all sizes together; None: regions stay as they are."""
        if self.pca is None and not others:
            context.progress.say(
                "no PCA-whitening: the regions are compared as they are. Papers learn it on other images; "
                "evaluation.pca_root=DIR does that, evaluation.pca=database learns it on the searched images"
            )
        if self.pca == "none" or (self.pca is None and not others):
            return None
        items = others
        if self.pca == "database":
            items = [(path, None) for path in found.database]
            context.progress.say("PCA-whitening is learned on the searched images themselves (evaluation.pca=database)")
        with context.progress.bar("regions for PCA", len(items) * len(sizes), "img") as advance:
            fitted, n_used = learn_whitening(features, items, sizes, self.n_pca, advance)
        unread = f" ({len(items) - n_used} others cannot be decoded)" if n_used < len(items) else ""
        share = f"{fitted.explained_variance:.1%} of the variance"
        context.progress.say(f"PCA-whitening, learned on {n_used:,} images{unread}, keeps {share}")
        return fitted.apply
