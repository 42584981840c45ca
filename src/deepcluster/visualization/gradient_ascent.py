"""evaluation=gradient_ascent: images that excite each channel of a stage. Next: stage_ascent.py draws a stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting
from deepcluster.visualization.ascent_recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext

SIZE_2018 = 224  # original: gradient_ascent.py


@dataclass(kw_only=True)
class GradientAscent(Evaluator):
    """Draw, for each channel, an image that excites it, found by gradient ascent from noise.

    Args:
        kind: "gradient_ascent".
        stage: whose channels; "all" draws those of every stage, None those of the last.
        channels: which of them; None draws all.
        first: draw only this many of those channels, from the first on; None draws them all.
        recipe: "smooth" starts from weak noise in normalised colours, stays between black and white, and prefers low
            frequencies; "official" is the 2018 code's: noise around 128, which the network never saw, values without
            limits, a slight blur, and stretched contrast in the picture. See ascent_recipes.py.
        n_steps, lr: None: the recipe's. "smooth": 128 steps of 0.05, the root mean square over normalised pixels;
            "official": 1000 steps of length 3 (the 2018 README: conv1 lr 3 and 30,000 steps, conv5 lr 30 and 3,000).
        weight_decay: None: the recipe's, 0 for "smooth", 1e-5 for "official".
        size: side of the images in pixels; None: the network's, and 224 for "official".
        batch_size: images computed at a time. Finished ones are stored: to continue an interrupted call, repeat it
            with the same output_dir.
        tile: about how high an image is in the picture, in pixels.
        singles: also write each channel's image to its own PNG.
    """

    makes = "pictures"

    kind: str = "gradient_ascent"
    stage: str | None = None
    channels: list[int] | None = None
    first: int | None = setting(None, at_least=1)
    recipe: str = setting("smooth", one_of=tuple(RECIPES))
    n_steps: int | None = setting(None, at_least=1)
    lr: float | None = setting(None, above=0)
    weight_decay: float | None = setting(None, at_least=0)
    size: int | None = setting(None, at_least=4)
    batch_size: int = setting(32, at_least=1)
    tile: int = setting(64, at_least=8)
    singles: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels is not None and not self.channels:
            raise ValueError("evaluation.channels=[] names no channel; null draws all")

    def resolved(self) -> Recipe:
        """The recipe with the values that the user sets."""
        changes: dict[str, Any] = {"n_steps": self.n_steps, "lr": self.lr, "weight_decay": self.weight_decay}
        return replace(RECIPES[self.recipe], **{name: value for name, value in changes.items() if value is not None})

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write gradient_ascent_STAGE.png, and numbers to gradient_ascent_STAGE.csv.

        Returns:
            For each stage: STAGE_channels; STAGE_activation_before and STAGE_activation_after, the answers (spatial
            mean after ReLU) to the first and to the last image, averaged over the channels; STAGE_silent, how many
            channels answer to the last image with exactly 0.

        Raises:
            ValueError: if the stage or a channel does not exist, or the size is too small for the stage.
        """
        from deepcluster.visualization.response import choose_stages
        from deepcluster.visualization.stage_ascent import StageAscent, frozen_copy

        backbone, recipe = frozen_copy(context.backbone, context.device), self.resolved()
        size = self.size or (SIZE_2018 if recipe.as_2018 else context.card["image_size"])
        results: dict[str, float] = {}
        for stage in choose_stages(backbone, self.stage, channels=self.channels, first=self.first, size=size):
            ascent = StageAscent(context=context, backbone=backbone, stage=stage, recipe=recipe, size=size)
            drawn = ascent.climb(batch_size=self.batch_size)
            title = f"images that excite each channel ({self.recipe}, {size} px, {recipe.n_steps} steps)"
            results |= ascent.show(drawn, title=title, tile=self.tile, singles=self.singles)
        return results
