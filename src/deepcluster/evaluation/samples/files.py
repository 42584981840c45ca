"""evaluation=files: what a run writes about single images, for a run that lacks it or for other images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.samples.settings import AboutImages
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class WriteFiles(AboutImages, Evaluator):
    """Write clusters.csv (cluster, distance, margin, rank, ...), duplicates.csv, odd.csv, embeddings.npy.

    Args:
        kind: "files".
        head: which labeling, counted from 0, where images are clustered several times.
        clusters: "auto": the run's own last assignment if these are its images, else the nearest centroids; "own"
            and "nearest" accept only the one or the other.
    """

    makes = "files"

    kind: str = "files"
    head: int = setting(0, at_least=0)
    clusters: str = setting("auto", one_of=("auto", "own", "nearest"))

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write the files.

        Returns:
            n_images, clusters_used and the numbers of :meth:`SampleFiles.find_duplicates`.

        Raises:
            ValueError: if the checkpoint holds no clusters.
        """
        from deepcluster.evaluation.clusters.clustered_images import own_labels, stored_assignment
        from deepcluster.evaluation.samples.sample_files import SampleFiles, root_of_files

        context = context.of_labeling(self.head)
        assignment, images = stored_assignment(context), context.train_images
        labels = own_labels(context, images, self.clusters)
        files = SampleFiles(
            folder=context.folder,
            images=images,
            test_images=context.test_images,
            root=root_of_files(context.data),
            settings=self,
            batch_size=context.extraction.batch_size,
            num_workers=context.n_workers(images, context.extraction.batch_size),
            device=context.device,
            seed=context.seed,
            progress=context.progress,
        )
        feature_pass = context.feature_pass(images, convolutional=False)
        numbers = files.write(feature_pass, assignment, labels, dim=context.backbone.feature_dim)
        context.progress.say(f"{len(images):,} images: {context.folder / 'clusters.csv'}")
        return {"n_images": len(images), **numbers}
