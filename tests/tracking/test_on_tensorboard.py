"""TensorBoard, by reading back its event files."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from deepcluster.tracking.settings import TensorBoardSettings
from deepcluster.tracking.tracked_run import TrackedRun
from deepcluster.tracking.tracker import Row, Table

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
SIZES = torch.tensor([1, 2, 2, 3, 5, 6, 9, 10, 10])


def events(folder: Path) -> Any:
    found = accumulator.EventAccumulator(
        str(folder / "tensorboard"), dict.fromkeys(("tensors", "images", "scalars", "histograms"), 0)
    )
    return found.Reload()


def test_what_is_written_can_be_read_back_over_a_resume(tmp_path: Path) -> None:
    picture = Image.new("RGB", (30, 20), (200, 10, 10))
    for epoch in (0, 1):  # two processes' worth
        place = TrackedRun(folder=tmp_path, config={"clustering": {"k": 9}}, say=print)
        tracker = TensorBoardSettings().open(place)
        assert tracker is not None
        tracker.log_row(Row(epoch=epoch, step=3 * epoch + 1, numbers={"x": 0.5 + epoch}, sizes=SIZES, picture=picture))
        if epoch == 0:  # as a kill leaves it
            assert [event.value for event in events(tmp_path).Scalars("x")] == [0.5]
    table = Table(columns=["", "trained"], rows=[["k-NN", 0.75], ["NMI", None]])
    tracker.log_row(Row(epoch=2, step=6, tables={"figures": table}))
    tracker.log_summary({"final/knn_accuracy": 0.75}, 2)
    tracker.close("finished")

    found = events(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("x")] == [(0, 0.5), (1, 1.5)]
    assert [(event.step, event.value) for event in found.Scalars("final/knn_accuracy")] == [(2, 0.75)]
    histograms = found.Histograms("cluster/sizes")
    assert [event.step for event in histograms] == [0, 1]
    histogram = histograms[0].histogram_value
    assert (histogram.num, histogram.sum, histogram.min, histogram.max) == (9, float(SIZES.sum()), 1, 10)
    image = found.Images("clusters")[1]
    with Image.open(io.BytesIO(image.encoded_image_string)) as written:
        assert written.size == (30, 20) and written.convert("RGB").getpixel((5, 5)) == (200, 10, 10)

    def text(name: str) -> list[str]:
        return [event.tensor_proto.string_val[0].decode() for event in found.Tensors(f"{name}/text_summary")]

    assert text("table/figures") == ["|  | trained |\n| --- | --- |\n| k-NN | 0.75 |\n| NMI |  |"]
    (config,) = text("config")  # once, not anew by the resumed run
    assert '"k": 9' in config
    assert "_hparams_/experiment" in found.Tags()["tensors"] + list(found.summary_metadata)
