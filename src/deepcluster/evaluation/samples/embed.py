"""evaluation=embed: the features of images as embeddings.npy, with names in embeddings.csv, or embeddings.parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Embed(Evaluator):
    """Write the features (N, D) float32, one batch after the other, and the images' names.

    Args:
        kind: "embed".
        split: "train" or "test" images.
        format: "npy": embeddings.npy, whose row i belongs to line i of embeddings.csv; "parquet": embeddings.parquet,
            with the columns sample and embedding.
    """

    makes = "files"

    kind: str = "embed"
    split: str = setting("train", one_of=("train", "test"))
    format: str = setting("npy", one_of=("npy", "parquet"))

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write the files.

        Returns:
            n_images and dim, D.

        Raises:
            ValueError: if there are no test images.
        """
        from deepcluster.evaluation.samples.parquet_file import write_parquet
        from deepcluster.evaluation.samples.places import write_features
        from deepcluster.evaluation.samples.sample_files import EMBEDDED, EMBEDDINGS
        from deepcluster.system.tables import write_csv

        images = context.train_images if self.split == "train" else context.test_images
        if images is None:
            raise ValueError(f"data={context.data.source} has no test images; set evaluation.split=train")
        file, names = context.folder / EMBEDDINGS, f"names in {EMBEDDED}"
        feature_pass = context.feature_pass(images, convolutional=False)
        with context.progress.bar("features", len(images), "img") as advance:
            if self.format == "parquet":
                file, names = file.with_suffix(".parquet"), "with their names"
                dim = write_parquet(feature_pass, images.samples, file, advance=advance)
            else:
                dim = write_features(feature_pass, file, advance=advance)
                write_csv(context.folder / EMBEDDED, ["sample"], ([images.samples[i]] for i in range(len(images))))
        context.progress.say(f"{len(images):,} images x {dim:,} features: {file}, {names}")
        return {"n_images": len(images), "dim": dim}
