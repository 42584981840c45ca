"""Gradient ascent for the channels of one stage: computed in batches, stored singly, shown as picture and table.

Called by gradient_ascent.py; ascent.py holds the ascent itself.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.kept_work import KeptWork, digest_of, facts_of
from deepcluster.models.backbone import Backbone
from deepcluster.system.seeding import mix
from deepcluster.system.tables import write_csv
from deepcluster.visualization.ascent import Bounds, ascend, black_and_white, denormalise, deprocess, start
from deepcluster.visualization.ascent_recipes import Recipe
from deepcluster.visualization.response import ChosenStage, climbable, responses
from deepcluster.visualization.tiles import as_picture, fitted, save_picture, sheet


class Drawn(TypedDict):
    """A channel's image, uint8 (C, S, S), and the channel's activation before the ascent and after it."""

    pixels: Tensor
    before: float
    after: float


def frozen_copy(backbone: Backbone, device: torch.device) -> Backbone:
    """A copy of the network for gradient ascent: on the device, in eval mode, its weights without gradients."""
    return copy.deepcopy(backbone).eval().requires_grad_(False).to(device)


@dataclass(kw_only=True)
class StageAscent:
    """Images for the chosen channels of one stage.

    Args:
        context: the card, the seed, the device and the folder.
        backbone: from :func:`frozen_copy`.
        stage: the stage and its channels.
        recipe: how the ascent begins and steps.
        size: side S of the images.
    """

    context: EvaluationContext
    backbone: Backbone
    stage: ChosenStage
    recipe: Recipe
    size: int

    @property
    def folder(self) -> Path:
        """The folder of single images and of finished work."""
        return self.context.folder / f"gradient_ascent_{self.stage.key}"

    def climb(self, *, batch_size: int) -> list[Drawn]:
        """Draw the chosen channels, in their order; those that an earlier call has stored are only read."""
        stage, say = self.stage.name, self.context.progress.say
        card = {name: self.context.card[name] for name in ("mean", "std")}
        facts = facts_of(
            self.backbone.features, stage=stage, recipe=self.recipe, size=self.size, seed=self.context.seed, card=card
        )
        # Each picture took minutes, so those of other steps, rates or weights stay, in folders of their own.
        kept = KeptWork(folder=self.folder / digest_of(facts), facts=facts, say=say)
        drawn = {channel: kept.read(f"{channel:04d}") for channel in self.stage.channels}
        missing = [channel for channel, one in drawn.items() if one is None]
        if len(missing) < len(drawn):
            say(f"{stage:10} {len(drawn) - len(missing)} channels were drawn before: {kept.folder}")
        with self.context.progress.bar(f"ascent {stage}", len(missing) * self.recipe.n_steps, "step") as advance:
            for first in range(0, len(missing), batch_size):
                batch = missing[first : first + batch_size]
                for channel, one in zip(batch, self._climb_together(batch, advance), strict=True):
                    kept.write(f"{channel:04d}", one)
                    drawn[channel] = one
        return list(drawn.values())

    def _climb_together(self, channels: list[int], advance: Callable[[int], None]) -> list[Drawn]:
        recipe, context, backbone, stage = self.recipe, self.context, self.backbone, self.stage.name
        mean, std = context.card["mean"], context.card["std"]
        # Sobel sees no colours, so coloured noise would never be removed (as in the 2018 code).
        grey = backbone.sobel is not None and not recipe.as_2018
        starts = [
            start(recipe, backbone.in_channels, self.size, seed=mix(context.seed, stage, channel), grey=grey)
            for channel in channels
        ]
        images = torch.stack(starts).to(context.device)
        targets = torch.tensor(channels, device=context.device)

        def answer(shown: Tensor) -> Tensor:
            return climbable(responses(backbone, stage, shown, normalised=not recipe.as_2018), targets)

        bounds = None
        if not recipe.as_2018:
            bounds = Bounds(*(edge.to(context.device) for edge in black_and_white(mean, std)))
        ends = ascend(answer, images, targets, recipe, seed=context.seed, bounds=bounds, advance=advance)
        pixels = deprocess(ends) if recipe.as_2018 else denormalise(ends, mean, std)
        with torch.no_grad():
            before, after = (
                responses(backbone, stage, shown).after.gather(1, targets[:, None])[:, 0].tolist()
                for shown in (images, ends)
            )
        return [Drawn(pixels=one.cpu(), before=b, after=a) for one, b, a in zip(pixels, before, after, strict=True)]

    def show(self, drawn: list[Drawn], *, title: str, tile: int, singles: bool) -> dict[str, float]:
        """Write the picture, the table and, with `singles`, each image; return the numbers for results.json."""
        stage, key, channels, say = self.stage.name, self.stage.key, self.stage.channels, self.context.progress.say
        pictures = [as_picture(one["pixels"]) for one in drawn]
        file = self.context.folder / f"gradient_ascent_{key}.png"
        tiles = [fitted(picture, tile) for picture in pictures]
        save_picture(sheet(tiles, [str(channel) for channel in channels], title=f"{stage}: {title}"), file)
        if singles:
            for channel, picture in zip(channels, pictures, strict=True):
                save_picture(picture, self.folder / f"{channel:04d}.png")
        before = torch.tensor([one["before"] for one in drawn])
        after = torch.tensor([one["after"] for one in drawn])
        rows = zip(channels, before.tolist(), after.tolist(), strict=True)
        write_csv(file.with_suffix(".csv"), ["channel", "activation_before", "activation_after"], rows)
        say(
            f"{stage:10} {len(channels)} channels answer {after.mean():.3g} on average, "
            f"{before.mean():.3g} at the start: {file}"
        )
        n_silent = int((after == 0).sum())
        if n_silent:
            say(f"{stage:10} {n_silent} of them are still 0 after the last step")
        return {
            f"{key}_channels": len(channels),
            f"{key}_activation_before": float(before.mean()),
            f"{key}_activation_after": float(after.mean()),
            f"{key}_silent": n_silent,
        }
