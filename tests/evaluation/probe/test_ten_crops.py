import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from deepcluster.evaluation.probe.ten_crops import ten_crops


@pytest.mark.parametrize(("height", "width", "size"), [(256, 300, 224), (9, 12, 6), (11, 10, 7), (8, 8, 8), (5, 4, 1)])
def test_ten_crops_are_torchvisions_in_its_order(height: int, width: int, size: int) -> None:
    images = torch.randint(0, 256, (3, 2, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    twin = torch.stack([torch.stack(list(TF.ten_crop(image, [size, size]))) for image in images])
    assert torch.equal(ten_crops(images, size), twin)


def test_the_fifth_crop_is_the_centre_and_the_tenth_its_mirror() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4)
    crops = ten_crops(images, 2)
    assert crops[0, 4, 0].tolist() == [[5, 6], [9, 10]]
    assert crops[0, 9, 0].tolist() == [[6, 5], [10, 9]]


def test_an_image_smaller_than_a_crop_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ten crops of 5x5 pixels do not fit into images of 8x4 .*view\.resize"):
        ten_crops(torch.zeros(1, 1, 8, 4), 5)
