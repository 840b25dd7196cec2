"""One-dimensional toys."""

import pytest
import torch

from laconic.data.toys import TOYS, draw_cubic, draw_gaps


@pytest.mark.parametrize("name", TOYS)
def test_draws_depend_on_the_seed_alone(name: str) -> None:
    x, y = TOYS[name](seed=3)
    again, other = TOYS[name](seed=3), TOYS[name](seed=4)
    assert x.shape == y.shape == (20, 1)
    assert torch.equal(y, again[1])
    assert not torch.equal(y, other[1])


def test_inputs_and_noise_are_those_of_the_source() -> None:
    """Noise within 10 % of its scale; 1,000 draws err by 2 %."""
    x, _ = draw_gaps(count=1000)
    assert ((x[:600] >= 0) & (x[:600] <= 0.6)).all()
    assert ((x[600:] >= 0.8) & (x[600:] <= 1)).all()
    x, y = draw_cubic(count=1000)
    assert -4 <= float(x.min()) < -3.9
    assert float((y - x**3).std()) == pytest.approx(3.0, rel=0.1)
