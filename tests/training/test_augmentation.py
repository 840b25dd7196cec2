"""Shifts and mirrors against slicing, and their frequencies."""

import torch
from torch.nn import functional

from laconic.training.augmentation import shift, shift_and_mirror
from laconic.training.classification import LabelledBatches


def test_every_picture_is_one_of_the_shifted_and_mirrored_ones() -> None:
    images = torch.rand(64, 2, 5, 7)
    changed = shift_and_mirror(images, torch.Generator().manual_seed(0), margin=1)
    padded = functional.pad(images, (1, 1, 1, 1))
    seen = set()
    for index, picture in enumerate(changed):
        fitting = [
            (down, right, mirrored)
            for down in range(3)
            for right in range(3)
            for mirrored in (False, True)
            if torch.equal(
                picture,
                window(padded[index], down, right).flip(2)
                if mirrored
                else window(padded[index], down, right),
            )
        ]
        assert len(fitting) == 1
        seen.add(fitting[0])
    # All 18 come up: each is missed with probability (17/18)^64 = 2.6 %, at the seed none is.
    assert len(seen) >= 16


def test_digits_are_shifted_and_never_mirrored() -> None:
    images = torch.rand(64, 1, 5, 7)
    padded = functional.pad(images, (1, 1, 1, 1))
    seen = set()
    for index, picture in enumerate(shift(images, torch.Generator().manual_seed(0))):
        places = [(down, right) for down in range(3) for right in range(3)]
        fitting = [one for one in places if torch.equal(picture, window(padded[index], *one))]
        assert len(fitting) == 1
        seen.add(fitting[0])
    assert len(seen) == 9  # one is missed with probability 9 (8/9)^64 = 0.5 % at most


def window(picture: torch.Tensor, down: int, right: int) -> torch.Tensor:
    return picture[:, down : down + 5, right : right + 7]


def test_batches_are_changed_the_same_way_whenever_they_are_requested() -> None:
    x, y = torch.rand(40, 1, 6, 6), torch.arange(40)
    batches = LabelledBatches(x, y, 10, seed=3, augment=shift_and_mirror)
    first, labels = batches.batch(2)
    again, _ = LabelledBatches(x, y, 10, seed=3, augment=shift_and_mirror).batch(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, x[labels])
    other, _ = LabelledBatches(x, y, 10, seed=4, augment=shift_and_mirror).batch(2)
    assert not torch.equal(first, other)
