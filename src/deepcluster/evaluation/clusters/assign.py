"""evaluation=assign: clusters.csv and changes.csv, the cluster of each image by a trained network and its centroids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Assign(Evaluator):
    """Assign the images of `data` to the checkpoint's clusters.

    Images that the run learned from, by what they hold, keep its clusters and are not read by the network again.

    Args:
        kind: "assign".
        head: which labeling, counted from 0, where images are clustered several times.
        again: assign these too, to their nearest centroids.
    """

    makes = "files"

    kind: str = "assign"
    head: int = setting(0, at_least=0)
    again: bool = False

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write clusters.csv, and changes.csv: groups that grow, pictures that fit nowhere.

        Returns:
            n_images, clusters_used, the numbers of :class:`~deepcluster.evaluation.samples.changes.Changes` and, if
            there are labels, their agreement with the clusters (metrics.label_metrics).

        Raises:
            ValueError: if the checkpoint holds no clusters, or no such labeling.
        """
        import torch

        from deepcluster.clustering.metrics import label_metrics
        from deepcluster.clustering.new_groups import LEAST
        from deepcluster.data.settings import Folder
        from deepcluster.evaluation.bundle import names_of_clusters
        from deepcluster.evaluation.clusters.clustered_images import stored_assignment
        from deepcluster.evaluation.clusters.clusters_file import Column, write_clusters
        from deepcluster.evaluation.samples.changes import CHANGES, changes_by
        from deepcluster.evaluation.samples.places import find_places
        from deepcluster.evaluation.samples.reach import read_reach
        from deepcluster.evaluation.samples.sample_files import CLUSTERS, read_usual
        from deepcluster.evaluation.samples.seen import numbers_by_content
        from deepcluster.evaluation.samples.small_pictures import small_pictures
        from deepcluster.system.words import command

        context = context.of_labeling(self.head)
        assignment, images = stored_assignment(context), context.train_images
        run = context.stored.home
        names = names_of_clusters(None, run, assignment.k)
        own = assignment.labels
        numbers = numbers_by_content(run, images.contents, n=len(images), n_before=len(own))
        known = torch.where(numbers < 0, -1, own[numbers.clamp(min=0)])
        unseen = torch.nonzero(known < 0).flatten()
        read = torch.arange(len(images)) if self.again else unseen
        feature_pass = context.feature_pass(images, convolutional=False)
        with context.progress.bar("assign", len(read), "img") as advance:
            places = find_places(feature_pass, assignment, labels=None, among=read, advance=advance)
        clusters, distances = known.clone(), torch.full((len(images),), torch.nan)
        clusters[read], distances[read] = places.clusters, places.distances
        further = [
            Column(name="distance", values=distances, form="{:.5g}"),
            Column(name="seen", values=known >= 0),
        ]
        fits = None
        if self.head == 0 and (reach := read_reach(run / CLUSTERS, assignment.k)) is not None:
            fits = reach.fits(clusters, distances) | ((known >= 0) & (not self.again))
            if len(read) and (usual := read_usual(run)) is not None:
                with context.progress.bar("small pictures", len(read), "img") as advance:
                    small = small_pictures(
                        images,
                        among=read,
                        batch_size=context.extraction.batch_size,
                        num_workers=context.n_workers(images, context.extraction.batch_size),
                        device=context.device,
                        advance=advance,
                    )
                fits[read] &= usual.fits(small.statistics)
            further.append(Column(name="fits", values=fits))
        file, say = context.folder / CLUSTERS, context.progress.say
        write_clusters(file, images, clusters, further)
        changes = changes_by(
            [images.samples[i] for i in unseen.tolist()],
            clusters[unseen],
            fits=None if fits is None else fits[unseen],
            sizes=assignment.sizes(),
            names=names,
        )
        changes.write(context.folder / CHANGES)
        n_seen, n_used = len(images) - len(unseen), len(torch.unique(clusters))
        kept = "are assigned anew" if self.again else "keep their clusters"
        seen = f"; {n_seen:,} were in the run and {kept}" if n_seen else ""
        say(f"{len(images):,} images in {n_used} clusters: {file}{seen}")
        for number, line in enumerate(changes.lines()):
            say(f"{'' if number else 'changes':11}{line}")
        if len(changes.nowhere or []) >= LEAST and isinstance(context.run_data, Folder):
            to_follow = command("more", run, "DIR")
            say(f"           new kinds get groups of their own by training on, old and new ones in DIR: {to_follow}")
        results: dict[str, float] = {"n_images": len(images), "clusters_used": n_used, **changes.numbers()}
        return results if images.labels is None else results | label_metrics(clusters, images.labels)
