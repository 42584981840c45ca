"""Identities: the order they give, repeated ones, and what they cost."""

import random

import pytest
import torch

from deepcluster.data.sources.identities import by_identity, content_identity, first_repeated, from_tensors, identities

NAMES = ["b", "ä/1.png", "a", "", "a", "c", "a", "z/ü"]
LABELS = torch.tensor([0, 1, 2, 0, 1, 0, 2, -1])


def test_a_set_is_ordered_by_identity_and_what_is_alike_is_numbered() -> None:
    found, rows = by_identity(identities(NAMES), LABELS)
    expected = sorted(range(len(NAMES)), key=lambda i: (NAMES[i], LABELS[i], i))
    assert rows.tolist() == expected
    assert list(found) == ["", "a", "a#2", "a#3", "b", "c", "z/ü", "ä/1.png"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_images_are_stored_does_not_matter(seed: int) -> None:
    order = list(range(len(NAMES)))
    random.Random(seed).shuffle(order)
    found, rows = by_identity(identities([NAMES[i] for i in order]), LABELS[order])
    before, rows_before = by_identity(identities(NAMES), LABELS)
    assert list(found) == list(before)
    assert LABELS[order][rows].tolist() == LABELS[rows_before].tolist()


def test_identities_are_a_sequence_that_can_be_kept_and_taken_from() -> None:
    found = identities(NAMES)
    assert found == NAMES and found[-1] == "z/ü" and found[1:3] == ["ä/1.png", "a"]
    assert from_tensors(found.take([7, 1]).tensors()) == ["z/ü", "ä/1.png"]
    assert from_tensors(identities([]).tensors()) == [] and first_repeated(identities([])) is None
    assert first_repeated(found) == "a" and first_repeated(found.take([0, 1])) is None
    with pytest.raises(IndexError):
        found[8]


def test_identities_take_their_characters_and_eight_bytes() -> None:
    assert identities([f"train/{i:07}.jpg" for i in range(1000)]).array.nbytes == 1000 * (17 + 8)


def test_a_content_is_its_bytes_or_its_pixels_with_their_shape() -> None:
    pixels = torch.arange(12, dtype=torch.uint8)
    ids = [content_identity(x) for x in (b"abc", b"abd", pixels.view(1, 3, 4), pixels.view(1, 4, 3))]
    assert len(set(ids)) == 4 and all(len(one) == 32 for one in ids)
    assert content_identity(pixels.view(3, 4).T) == content_identity(pixels.view(3, 4).T.contiguous())
