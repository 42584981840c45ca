"""What each channel of a stage answers to most, drawn by gradient ascent: evaluation=gradient_ascent of eval.py."""

import copy
import csv
import hashlib
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.features.digest import weights_digest
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import mix
from deepcluster.visualization.ascent import (
    OFFICIAL,
    SMOOTH,
    Bounds,
    Recipe,
    ascend,
    black_and_white,
    denormalise,
    deprocess,
    start,
)
from deepcluster.visualization.response import choose_channels, choose_stages, climbable, responses, stage_shape
from deepcluster.visualization.tiles import as_picture, fitted, save_picture, sheet

RECIPES = {"smooth": SMOOTH, "official": OFFICIAL}
OFFICIAL_SIZE = 224  # original: gradient_ascent.py


@dataclass(kw_only=True)
class GradientAscent(Evaluator):
    """Images that climb, from noise, to what excites one channel each.

    Args:
        kind: "gradient_ascent".
        stage: whose channels; "all" draws those of every stage, None those of the last.
        channels: which of them; None draws all.
        first: only the first so many of those.
        recipe: "smooth" starts from weak noise in normalised colours, stays between black and white, and is led to low
            frequencies; "official" is the 2018 code's: noise around 128, which the network never saw, free values,
            a slight blur, contrast stretched for the picture. See ascent.py.
        n_steps, lr: None: the recipe's, 128 and 0.05 of a normalised pixel (smooth), 1000 and 3 of the whole image's
            length (official; its README: conv1 lr 3 and 30,000 steps, conv5 lr 30 and 3,000).
        weight_decay: None: the recipe's, 0 or 1e-5.
        size: side of the images; None: the network's, and 224 for "official".
        batch_size: images climbing at a time; finished ones are kept, and an interrupted call is continued by the
            same with the same output_dir.
        tile: about how high a channel is in the picture, in pixels.
        singles: also write each channel's image as a PNG of its own.
    """

    kind: str = "gradient_ascent"
    stage: str | None = None
    channels: list[int] | None = None
    first: int | None = None
    recipe: str = "smooth"
    n_steps: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    size: int | None = None
    batch_size: int = 32
    tile: int = 64
    singles: bool = False

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ValueError(f"evaluation.recipe must be one of {', '.join(RECIPES)}, got {self.recipe}")
        for name, least in (("first", 1), ("n_steps", 1), ("size", 4), ("batch_size", 1), ("tile", 8)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"evaluation.{name} must be at least {least}, got {value}")
        if self.lr is not None and not self.lr > 0:
            raise ValueError(f"evaluation.lr must be above 0, got {self.lr}")
        if self.weight_decay is not None and self.weight_decay < 0:
            raise ValueError(f"evaluation.weight_decay must be at least 0, got {self.weight_decay}")
        if self.channels is not None and not self.channels:
            raise ValueError("evaluation.channels=[] names no channel; null draws all")

    def resolved(self) -> Recipe:
        """The recipe with what the user sets."""
        recipe = RECIPES[self.recipe]
        return replace(
            recipe,
            n_steps=recipe.n_steps if self.n_steps is None else self.n_steps,
            lr=recipe.lr if self.lr is None else self.lr,
            weight_decay=recipe.weight_decay if self.weight_decay is None else self.weight_decay,
        )

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Draw gradient_ascent_STAGE.png, with numbers in gradient_ascent_STAGE.csv.

        Returns:
            For each stage: STAGE_channels; STAGE_activation_before and STAGE_activation_after, the answers (spatial
            mean after ReLU) to the start and to the end, averaged over the channels; STAGE_silent, how many channels
            still answer with exactly 0.

        Raises:
            ValueError: if there is no such stage or channel, or the size is too small for it.
        """
        backbone = copy.deepcopy(context.backbone).eval().requires_grad_(False).to(context.device)
        size = self.size or (OFFICIAL_SIZE if self.recipe == "official" else context.card["image_size"])
        plan = []
        for stage in choose_stages(backbone, self.stage):  # all is checked before anything is drawn
            n_channels = stage_shape(backbone, stage, size)[0]
            plan.append((stage, choose_channels(self.channels, n_channels, stage, self.first)))
        results: dict[str, float] = {}
        for stage, channels in plan:
            results |= self._draw(context, backbone, stage, channels, size)
        return results

    def _draw(
        self, context: EvaluationContext, backbone: Backbone, stage: str, channels: list[int], size: int
    ) -> dict[str, float]:
        recipe, name = self.resolved(), stage.replace(".", "_")
        kept = context.folder / f"gradient_ascent_{name}" / self._fingerprint(backbone, stage, size, context)
        missing = [channel for channel in channels if not _file(kept, channel).is_file()]
        if len(missing) < len(channels):
            context.progress.say(f"{stage:10} {len(channels) - len(missing)} channels were drawn before: {kept}")
        with context.progress.bar(f"ascent {stage}", len(missing) * recipe.n_steps, "step") as advance:
            for first in range(0, len(missing), self.batch_size):
                part = missing[first : first + self.batch_size]
                for channel, drawn in zip(
                    part, self._climb(context, backbone, stage, part, size, advance), strict=True
                ):
                    _keep(drawn, _file(kept, channel))
        drawn_all = [torch.load(_file(kept, channel), weights_only=True) for channel in channels]
        pictures = [as_picture(drawn["pixels"]) for drawn in drawn_all]
        file = context.folder / f"gradient_ascent_{name}.png"
        what = f"{stage}: images that excite each channel ({self.recipe}, {size} px, {recipe.n_steps} steps)"
        save_picture(sheet([fitted(p, self.tile) for p in pictures], [str(c) for c in channels], title=what), file)
        if self.singles:
            for channel, picture in zip(channels, pictures, strict=True):
                save_picture(picture, context.folder / f"gradient_ascent_{name}" / f"{channel:04d}.png")
        before = torch.tensor([drawn["before"] for drawn in drawn_all])
        after = torch.tensor([drawn["after"] for drawn in drawn_all])
        _write_numbers(file.with_suffix(".csv"), channels, before, after)
        context.progress.say(
            f"{stage:10} {len(channels)} channels answer {after.mean():.3g} on average, "
            f"{before.mean():.3g} at the start: {file}"
        )
        silent = int((after == 0).sum())
        if silent:
            context.progress.say(f"{stage:10} {silent} of them are silent to the end")
        return {
            f"{name}_channels": len(channels),
            f"{name}_activation_before": float(before.mean()),
            f"{name}_activation_after": float(after.mean()),
            f"{name}_silent": silent,
        }

    def _climb(
        self,
        context: EvaluationContext,
        backbone: Backbone,
        stage: str,
        channels: list[int],
        size: int,
        advance: Callable[[int], None],
    ) -> list[dict[str, Any]]:
        """One batch: for each channel its pixels, uint8 (C, S, S), and its answers before and after."""
        recipe, card, device = self.resolved(), context.card, context.device
        # Sobel sees no colours: noise in them would stay as it is for ever (the original's does)
        grey = backbone.sobel is not None and self.recipe != "official"
        starts = [
            start(recipe, backbone.in_channels, size, seed=mix(context.seed, stage, channel), grey=grey)
            for channel in channels
        ]
        images, targets = torch.stack(starts).to(device), torch.tensor(channels, device=device)

        def answer(shown: Tensor) -> Tensor:
            return climbable(responses(backbone, stage, shown, normalised=self.recipe != "official"), targets)

        bounds = None
        if self.recipe != "official":
            bounds = Bounds(*(edge.to(device) for edge in black_and_white(card["mean"], card["std"])))
        ends = ascend(answer, images, targets, recipe, seed=context.seed, bounds=bounds, advance=advance)
        pixels = deprocess(ends) if self.recipe == "official" else denormalise(ends, card["mean"], card["std"])
        with torch.no_grad():
            before, after = (
                responses(backbone, stage, shown).after.gather(1, targets[:, None])[:, 0].tolist()
                for shown in (images, ends)
            )
        return [{"pixels": one.cpu(), "before": b, "after": a} for one, b, a in zip(pixels, before, after, strict=True)]

    def _fingerprint(self, backbone: Backbone, stage: str, size: int, context: EvaluationContext) -> str:
        """Eight letters that change with anything that changes the images, so that only equal ones are taken up."""
        card = {name: context.card[name] for name in ("mean", "std")}
        told = (
            asdict(self.resolved()),
            self.recipe,
            stage,
            size,
            context.seed,
            card,
            weights_digest(backbone.features),
        )
        return hashlib.blake2b(repr(told).encode()).hexdigest()[:8]


def _file(folder: Path, channel: int) -> Path:
    return folder / f"{channel:04d}.pt"


def _keep(drawn: dict[str, Any], file: Path) -> None:
    buffer = io.BytesIO()
    torch.save(drawn, buffer)
    write_atomically(file, buffer.getbuffer())


def _write_numbers(file: Path, channels: list[int], before: Tensor, after: Tensor) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["channel", "activation_before", "activation_after"])
    writer.writerows(zip(channels, before.tolist(), after.tolist(), strict=True))
    write_atomically(file, text.getvalue().encode())
