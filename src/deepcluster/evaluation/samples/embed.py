"""evaluation=embed: the features of images as embeddings.npy, with their names in embeddings.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Embed(Evaluator):
    """Write the features (N, D) float32, one batch after the other; row i belongs to line i of the names.

    Args:
        kind: "embed".
        split: "train" or "test" images.
    """

    makes = "files"

    kind: str = "embed"
    split: str = setting("train", one_of=("train", "test"))

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write both files.

        Returns:
            n_images and dim, D.

        Raises:
            ValueError: if there are no test images.
        """
        from deepcluster.evaluation.samples.places import write_features
        from deepcluster.evaluation.samples.sample_files import EMBEDDED, EMBEDDINGS
        from deepcluster.system.tables import write_csv

        images = context.train_images if self.split == "train" else context.test_images
        if images is None:
            raise ValueError(f"data={context.data.source} has no test images; set evaluation.split=train")
        file = context.folder / EMBEDDINGS
        with context.progress.bar("features", len(images), "img") as advance:
            dim = write_features(context.feature_pass(images, convolutional=False), file, advance=advance)
        write_csv(context.folder / EMBEDDED, ["sample"], ([images.samples[i]] for i in range(len(images))))
        context.progress.say(f"{len(images):,} images x {dim:,} features: {file}, names in {EMBEDDED}")
        return {"n_images": len(images), "dim": dim}
