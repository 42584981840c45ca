"""evaluation=retrieval: how well features find other images of the same object, by R-MAC; nothing is trained.

images --region_features.py--> regions --PCA-whitening, rmac.py--> descriptors --ranking.py--> scores.py

Here are the settings. Next: search.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext
    from deepcluster.evaluation.retrieval.report import Search

# original: larger side 1024, for networks trained on crops of 224. With the same ratio, a network trained on smaller
# crops sees details at the size that it was trained on.
SIZE_PER_IMAGE_SIZE = 1024 / 224


@dataclass(kw_only=True)
class Retrieval(Evaluator):
    """Search a database of images with queries, by the dot product of R-MAC descriptors.

    Args:
        kind: "retrieval".
        root: the folder of the set.
        layout: "plain" (reference/ID.jpg, FOLDER/ID.jpg), "oxford" (Oxford5k, Paris6k), "revisited" (ROxford5k,
            RParis6k), or "auto": recognised by its files (layouts.py).
        reference: plain layout: the database's folder, in upper or lower case.
        queries: plain layout: the query folders; null: every other folder with images.
        ground_truth: revisited layout: the file's name in root; null: the only gnd_*.pkl or gnd_*.json.
        stage: stage whose maps are used; null: the last (original: conv5_3 of VGG-16, without its pooling).
        sizes: larger side of the images in pixels; with several, the descriptors of all sizes are added. null: 1024
            for a network of 224 pixels as in 2018, in proportion for other networks.
        levels: number of levels of R-MAC's regions; original: 3.
        pca: images that PCA-whitening of the regions is fitted on: "other" (those of pca_root), "database" (the
            searched images themselves, so results are not comparable with papers) or "none" (no PCA). null: "other" if
            pca_root is given, else "none".
        pca_root: a folder with other images, at any depth; original: Paris6k for Oxford5k and vice versa.
        pca_images: fit PCA on at most this many of them, spread evenly; null: on all.
        n_pca: number of dimensions after PCA; all if the stage has fewer channels. original: 512.
        aqe: number of best answers for average query expansion; 0: off. Results without it are reported too.
        dba: number of neighbours for database-side augmentation; 0: off. Results without it are reported too.
        n_shown: number of queries in answers.png, evenly spread from the best to the worst; 0: no picture.
    """

    kind: str = "retrieval"
    root: str | None = setting(None, is_path=True)
    layout: str = setting("auto", one_of=("auto", "plain", "oxford", "revisited"))
    reference: str = "reference"
    queries: list[str] | None = None
    ground_truth: str | None = setting(None, is_path=True)
    stage: str | None = None
    sizes: list[int] | None = setting(None, at_least=1)
    levels: int = setting(3, at_least=1)
    pca: str | None = setting(None, one_of=("other", "database", "none"))
    pca_root: str | None = setting(None, is_path=True)
    pca_images: int | None = setting(None, at_least=2)
    n_pca: int = setting(512, at_least=1)
    aqe: int = setting(0, at_least=0, hint="0 is off")
    dba: int = setting(0, at_least=0, hint="0 is off")
    n_shown: int = setting(8, at_least=0, at_most=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sizes is not None and (not self.sizes or len({*self.sizes}) < len(self.sizes)):
            raise ValueError(f"evaluation.sizes must be different sizes in pixels, got {list(self.sizes)}")
        if self.queries is not None and not self.queries:
            raise ValueError("evaluation.queries must name a folder, or be null: every other folder")
        if self.pca == "other" and self.pca_root is None:
            raise ValueError("evaluation.pca=other needs evaluation.pca_root=DIR, a folder of other images")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Search; writes queries.csv and answers.png, and saves the images' regions below regions/ for later calls.

        Returns:
            n_database, n_queries, and what :func:`~deepcluster.evaluation.retrieval.scores.scores` gives. With
            expansion or augmentation the names end in _aqe, _dba or _dba_aqe.

        Raises:
            FileNotFoundError, ValueError: if set, network and settings do not fit together.
        """
        search = self.search(context)
        if self.n_shown > 0:
            from deepcluster.evaluation.retrieval.answer_page import answer_page, evenly_chosen

            file = context.folder / "answers.png"
            answer_page(search, evenly_chosen(search, self.n_shown)).save(file)
            context.progress.say(f"picture     {file}")
        return search.numbers

    def search(self, context: EvaluationContext) -> Search:
        """:meth:`run` without the picture: the rankings with their numbers."""
        from deepcluster.evaluation.retrieval import search
        from deepcluster.evaluation.retrieval.layouts import retrieval_set

        if not context.backbone.stages:
            raise ValueError("this network has no stages with maps, which evaluation=retrieval compares")
        stage = self.stage or context.backbone.stages[-1]
        context.backbone.check_stage(stage)
        if self.root is None:
            raise ValueError("evaluation=retrieval needs evaluation.root=DIR, the folder of a retrieval set")
        searched = retrieval_set(
            self.root, self.layout, reference=self.reference, queries=self.queries, ground_truth=self.ground_truth
        )
        search.check_set(searched, n_expansion=self.aqe, n_augmentation=self.dba)
        pca = self.pca or ("none" if self.pca_root is None else "other")
        others = []
        if pca == "other" and self.pca_root is not None:
            others = search.images_for_pca(self.pca_root, self.pca_images)
        if self.pca is None and pca == "none":
            context.progress.say(
                "no PCA-whitening of the regions. Papers fit it on other images, as evaluation.pca_root=DIR does; "
                "evaluation.pca=database fits it on the searched images"
            )
        sizes = list(self.sizes or [round(SIZE_PER_IMAGE_SIZE * context.card["image_size"])])
        described = search.describe_set(
            context,
            searched,
            stage=stage,
            levels=self.levels,
            sizes=sizes,
            pca=pca,
            others=others,
            n_pca=self.n_pca,
        )
        return search.rank_and_score(context, described, n_expansion=self.aqe, n_augmentation=self.dba)
