"""The evaluation around the ascent: files, numbers, what is kept and taken up again."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.picture_context import context, network
from support.tiny import images

from deepcluster.visualization import stage_ascent
from deepcluster.visualization.gradient_ascent import GradientAscent


@pytest.fixture
def climbed(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The channels of each batch that is really climbed."""
    seen: list[list[int]] = []
    ascend = stage_ascent.ascend

    def counted(answer: Any, of: Any, channels: torch.Tensor, *rest: Any, **named: Any) -> Any:
        seen.append(channels.tolist())
        return ascend(answer, of, channels, *rest, **named)

    monkeypatch.setattr(stage_ascent, "ascend", counted)
    return seen


def test_answers_grow_and_the_picture_shows_every_channel(tmp_path: Path) -> None:
    settings = GradientAscent(stage="all", n_steps=20, tile=16, singles=True)
    results = settings.run(context(tmp_path, images(2), network()))
    for stage, n_channels in (("conv1", 6), ("conv2", 16)):
        assert results[f"{stage}_channels"] == n_channels
        assert results[f"{stage}_activation_after"] > 2 * results[f"{stage}_activation_before"]
        with (tmp_path / f"gradient_ascent_{stage}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["channel"]) for row in rows] == list(range(n_channels))
        mean = sum(float(row["activation_after"]) for row in rows) / n_channels
        assert mean == pytest.approx(results[f"{stage}_activation_after"], rel=1e-5)
        with Image.open(tmp_path / f"gradient_ascent_{stage}.png") as picture:
            assert min(picture.size) > 16 * n_channels**0.5
        assert len(list((tmp_path / f"gradient_ascent_{stage}").glob("*.png"))) == n_channels


def test_finished_channels_are_kept_and_not_drawn_again(tmp_path: Path, climbed: list[list[int]]) -> None:
    made, settings = context(tmp_path, images(2), network()), GradientAscent(stage="conv1", n_steps=2, batch_size=2)
    replace(settings, channels=[0, 1, 4]).run(made)
    assert climbed == [[0, 1], [4]]
    kept = {file.name: file.read_bytes() for file in tmp_path.rglob("*.state")}
    whole = settings.run(made)
    assert climbed[2:] == [[2, 3], [5]]
    assert all(file.read_bytes() == kept[file.name] for file in tmp_path.rglob("*.state") if file.name in kept)
    fresh = tmp_path / "fresh"
    alone = replace(settings, batch_size=6).run(context(fresh, images(2), network()))  # the batch changes nothing
    assert alone == pytest.approx(whole, rel=1e-3)
    picture = "gradient_ascent_conv1.png"
    assert (fresh / picture).stat().st_size > 0 and (tmp_path / picture).stat().st_size > 0


def test_what_would_give_other_images_is_drawn_anew_beside_them(tmp_path: Path, climbed: list[list[int]]) -> None:
    settings = GradientAscent(stage="conv1", channels=[0], n_steps=2)
    made = context(tmp_path, images(2), network())
    settings.run(made)
    for other in ({"lr": 0.1}, {"n_steps": 3}, {"size": 20}, {"weight_decay": 1.0}):
        replace(settings, **other).run(made)  # type: ignore[arg-type]
    settings.run(made)
    assert len(climbed) == 5  # the first images are still there
    with torch.no_grad():
        made.backbone.features.conv1[0].weight += 1e-3
    settings.run(made)
    assert len(climbed) == 6
    settings.run(made)
    assert len(climbed) == 6


def test_official_has_its_own_size_and_noise(tmp_path: Path) -> None:
    settings = GradientAscent(recipe="official", stage="conv1", channels=[1], n_steps=1)
    settings.run(context(tmp_path, images(2), network()))
    (file,) = tmp_path.rglob("*.state")
    pixels = torch.load(file, weights_only=True)["content"]["pixels"]
    assert pixels.shape == (1, 224, 224)
    assert float(pixels.float().mean()) == pytest.approx(127.5, abs=1)  # centred, std 0.1
    assert float(pixels.float().std()) == pytest.approx(25.5, abs=1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"recipe": "nice"}, r"evaluation.recipe must be one of smooth, official, got 'nice'"),
        ({"n_steps": 0}, r"evaluation.n_steps must be at least 1, got 0"),
        ({"lr": 0.0}, r"evaluation.lr must be above 0"),
        ({"weight_decay": -1.0}, r"evaluation.weight_decay must be at least 0"),
        ({"channels": []}, r"evaluation.channels=\[\] names no channel"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        GradientAscent(**settings)  # type: ignore[arg-type]


def test_mistakes_are_told_before_anything_is_drawn(tmp_path: Path, climbed: list[list[int]]) -> None:
    made = context(tmp_path, images(2), network())
    for settings, named in (
        (GradientAscent(stage="layer1"), "no such stage; it has conv1, conv2, or all"),
        (GradientAscent(stage="all", channels=[7]), "stage conv1 has the 6 channels 0 to 5, and no 7"),
        (GradientAscent(size=8), "evaluation.size=8 is too small for stage conv2"),
    ):
        with pytest.raises(ValueError, match=named):
            settings.run(made)
    assert not climbed
