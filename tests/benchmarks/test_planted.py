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


def test_a_folder_with_both_can_be_made(tmp_path: Path) -> None:
    for i, grey in enumerate(textures(12, seed=9, side=64)):
        (tmp_path / "from" / f"{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey.byte().numpy()).save(tmp_path / "from" / f"{i % 2}" / f"{i}.png")
    typed = ["folder", str(tmp_path / "from"), "--into", str(tmp_path / "into"), "--copies", "4", "--strangers", "2"]
    assert main([*typed, "--others", "documents"]) == []
    names = sorted(path.name for path in (tmp_path / "into").rglob("*.*"))
    kinds = ["brightened_3.png", "cropped_2.png", "half_1.png", "saved_again_0.jpg", "stranger_0.png", "stranger_1.png"]
    assert names == sorted([*(f"{i}.png" for i in range(12)), *kinds])
    assert {path.parent.name for path in (tmp_path / "into").rglob("*.*")} == {"0", "1"}
