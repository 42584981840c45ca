"""The same picture of several jobs in one: the end of a sweep of eval.py that draws."""

from collections.abc import Mapping
from pathlib import Path

from deepcluster.visualization.charts import figure, save

MOST = 6  # jobs; more would be too small to see
INCHES = 5.5  # of each picture


def side_by_side(folders: Mapping[str, Path], out: Path) -> list[Path]:
    """Put each picture that all folders hold beside its namesakes.

    Args:
        folders: caption -> a job's folder, which may hold PNG files.
        out: where the joined pictures go, under the same names.

    Returns:
        The files; none for one folder, or for more than MOST.

    Raises:
        ImportError: without matplotlib.
    """
    if not 2 <= len(folders) <= MOST:
        return []
    names = set.intersection(*({file.name for file in folder.glob("*.png")} for folder in folders.values()))
    return [
        _joined({caption: folder / name for caption, folder in folders.items()}, out / name) for name in sorted(names)
    ]


def _joined(files: Mapping[str, Path], file: Path) -> Path:
    from PIL import Image

    pictures = {caption: Image.open(source) for caption, source in files.items()}
    tallest = max(picture.height / picture.width for picture in pictures.values())
    drawn = figure(INCHES * len(pictures), INCHES * tallest + 0.4)
    for axis, (caption, picture) in zip(drawn.subplots(1, len(pictures)), pictures.items(), strict=True):
        axis.imshow(picture.convert("RGB"), interpolation="antialiased")
        axis.set_title(caption, fontsize=11)
        axis.set_axis_off()
    save(drawn, file, dpi=160)
    return file
