"""Pooling by slices against torch's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from laconic.weights.pruning.pooling import SlicedMaxPool2d


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(3, 9), st.integers(3, 9), st.booleans())
def test_it_does_what_torch_does(
    down: int, right: int, height: int, width: int, last: bool
) -> None:
    pool = nn.MaxPool2d((down, right))
    quick = SlicedMaxPool2d.of(pool)
    assert quick is not None
    x = torch.randn(2, 3, height, width)
    x[0, 0, 0, 0] = torch.nan
    if last:
        x = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(quick(x), pool(x), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(quick(x[0]), pool(x[0]), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 1},
        {"padding": 1},
        {"dilation": 2},
        {"ceil_mode": True},
        {"return_indices": True},
    ],
)
def test_other_pooling_is_left_to_torch(options: dict[str, int]) -> None:
    assert SlicedMaxPool2d.of(nn.MaxPool2d(2, **options)) is None
