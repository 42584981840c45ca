from pathlib import Path

from PIL import Image
from support.textures import textures

from benchmarks.planted import main


def test_all_planted_copies_are_found(tmp_path: Path) -> None:
    for i, grey in enumerate(textures(40, seed=9, side=96)):
        Image.fromarray(grey.byte().numpy()).save(tmp_path / f"{i}.png")
    (found,) = main(["copies", str(tmp_path), "--n", "44", "--copies", "4", "--seeds", "1"])
    assert (found.n_planted, found.n_found, found.n_false) == (4, 4, 0)
