from pathlib import Path

from PIL import Image
from support.textures import textures

from benchmarks.planted import main


def test_strangers_are_counted_among_the_first(tmp_path: Path) -> None:
    for i, grey in enumerate(textures(60, seed=9, side=64)):
        Image.fromarray(grey.byte().numpy()).save(tmp_path / f"{i}.png")
    typed = ["strangers", str(tmp_path), "--n", "64", "--strangers", "4", "--seeds", "1", "--others", "documents"]
    (found,) = main(typed)
    assert (found.n_planted, found.n_found, found.n_false) == (4, 4, 26)


def test_all_planted_copies_are_found(tmp_path: Path) -> None:
    for i, grey in enumerate(textures(40, seed=9, side=96)):
        Image.fromarray(grey.byte().numpy()).save(tmp_path / f"{i}.png")
    (found,) = main(["copies", str(tmp_path), "--n", "44", "--copies", "4", "--seeds", "1"])
    assert (found.n_planted, found.n_found, found.n_false) == (4, 4, 0)
