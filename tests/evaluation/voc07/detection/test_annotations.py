"""VOC's boxes: edges as the development kit counts them, scaled by the XML's size, mirrored; what is refused."""

import pytest
import torch
from PIL import Image
from support.voc_objects import write_annotation, write_squares

from deepcluster.evaluation.voc07.classes import CLASSES
from deepcluster.evaluation.voc07.detection.annotations import read_annotation, read_annotations
from deepcluster.evaluation.voc07.lists import LISTS
from deepcluster.evaluation.voc07.pictures import read_picture_splits


def test_a_box_is_read_with_both_its_edges_and_scaled_by_the_annotated_size(tmp_path):
    file = tmp_path / "1.xml"
    write_annotation(file, (500, 375), [("dog", (1, 1, 500, 375), 0), ("cat", (51, 76, 100, 150), 1)])
    read = read_annotation(file)
    assert read.boxes.tolist() == [[0, 0, 500, 375], [50, 75, 100, 150]]  # 50 and 75 pixels wide and high
    assert read.labels.tolist() == [CLASSES.index("dog"), CLASSES.index("cat")]
    assert read.difficult.tolist() == [False, True]
    scaled = read.scaled_boxes(height=150, width=200, mirrored=False)  # .4 of the original
    assert scaled.tolist() == [pytest.approx([0, 0, 200, 150]), pytest.approx([20, 30, 40, 60])]
    mirrored = read.scaled_boxes(height=150, width=200, mirrored=True)
    assert mirrored.tolist() == [pytest.approx([0, 0, 200, 150]), pytest.approx([160, 30, 180, 60])]
    assert torch.allclose(read.original_boxes(scaled, 150, 200), read.boxes)
    uneven = read.scaled_boxes(height=160, width=213, mirrored=False)  # each side by its own factor
    assert uneven[1].tolist() == pytest.approx([50 * 213 / 500, 75 * 160 / 375, 100 * 213 / 500, 150 * 160 / 375])


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (
            [("dog", (1, 1, 65, 48), 0)],
            r"1\.xml: the box xmin=1, ymin=1, xmax=65, ymax=48 of a dog lies outside",
        ),
        ([("dog", (0, 1, 64, 48), 0)], "xmin=0, .* lies outside of the picture's 64 x 48 pixels"),
        ([("dog", (9, 1, 8, 48), 0)], "lies outside"),
        ([("hound", (1, 1, 64, 48), 0)], r"1\.xml has an object of the class 'hound', VOC has aeroplane, .*tvmonitor;"),
    ],
)
def test_impossible_objects_are_refused(tmp_path, objects, message):
    write_annotation(tmp_path / "1.xml", (64, 48), objects)
    with pytest.raises(ValueError, match=message):
        read_annotation(tmp_path / "1.xml")


@pytest.mark.parametrize("text", ["", "<annotation>", "<annotation/>", "<annotation><size><width>x</width></size>"])
def test_a_damaged_annotation_is_named(tmp_path, text):
    (tmp_path / "1.xml").write_text(text)
    with pytest.raises(ValueError, match=r"1\.xml cannot be read as an annotation .*unpack it again"):
        read_annotation(tmp_path / "1.xml")


def read(root):
    return [read_annotations(split) for split in read_picture_splits(str(root), None, None, LISTS, 3)]


def test_what_a_folder_lacks_is_told_in_one_sentence(tmp_path):
    voc = write_squares(tmp_path, 3, 3)
    assert [len(each) for each in read(tmp_path)] == [3, 3]
    (voc / "Annotations/000001.xml").rename(voc / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"1 of 3 pictures of train have no file in .*, first 000001"):
        read(tmp_path)
    (voc / "Annotations").rename(voc / "moved")
    with pytest.raises(FileNotFoundError, match="VOC2007 has no folder Annotations; unpack it beside JPEGImages"):
        read(tmp_path)
    (voc / "JPEGImages/000004.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images of ImageSets/Main/val\.txt are not in .* 000004"):
        read(tmp_path)
    (voc / "ImageSets/Main/val.txt").write_text("000000\n")
    with pytest.raises(ValueError, match="1 images are in train and in val"):
        read(tmp_path)
    (voc / "ImageSets/Main/val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no trainval\.txt and test\.txt, nor train\.txt and val\.txt"):
        read(tmp_path)


def test_a_picture_of_another_shape_is_refused(tmp_path):
    voc = write_squares(tmp_path, 2, 2)
    Image.new("RGB", (48, 64)).save(voc / "JPEGImages/000001.jpg")
    with pytest.raises(ValueError, match=r"000001\.jpg has 48 x 64 pixels, which is no copy of the 128 x 96 of .*xml"):
        read(tmp_path)
    (voc / "JPEGImages/000001.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"000001\.jpg is damaged"):
        read(tmp_path)
