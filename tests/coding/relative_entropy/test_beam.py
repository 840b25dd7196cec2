"""The beam coder: the suite, and how the auxiliary variables share the variance."""

import numpy as np
import pytest

from laconic.coding.relative_entropy import beam
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.coding.relative_entropy.beam import BeamCoder
from laconic.testing import CoderSuite, bias, ladder_pair, transmit


class TestBeam(CoderSuite):
    max_ratio = 1.22
    max_excess = 0.1

    def make(self) -> RelativeEntropyCoder:
        return BeamCoder()

    def budgets(self) -> list[RelativeEntropyCoder]:
        return [BeamCoder(step_bits=bits) for bits in (2, 5, 8)]


def test_powers_of_two() -> None:
    exponents = [0, 1, 5, 1 << 15, 1 << 16, (7 << 16) + 12345, 70 << 16]
    wanted = [2 ** -(x / 65536) for x in exponents[:-1]]
    assert [beam._power(x) for x in exponents] == pytest.approx([*wanted, 0.0], rel=1e-12)


@pytest.mark.parametrize("rate", [2, 64, 512, 2048])
def test_every_variable_has_the_same_kl(rate: int) -> None:
    steps, squared = 6, 2.0 ** (-2 * rate / 256)
    left = beam._left(rate, steps)
    assert left[0] == 1
    assert left[-1] == 0
    # The sum so far is N((1 - v) z, v (1 - v)) given z; over z ~ q its variance, in prior units:
    ratio = (1 - left) * squared + left
    assert np.diff(np.log2(ratio)) == pytest.approx(-2 * rate / 256 / steps, rel=1e-2)


def test_variances_add_up() -> None:
    scale, _ = beam._schedule(np.array([3, 3, 300, 2048]), 9)
    assert (scale.astype(np.float64) ** 2).sum(0) == pytest.approx(1, rel=1e-6)


def test_more_beams_less_bias() -> None:
    pair = ladder_pair((1, 16, 32, 32))
    one, many = (bias(BeamCoder(beams=beams), *pair) for beams in (1, 32))
    assert many < 0.5 * one


def test_tries_are_counted() -> None:
    coder = BeamCoder(step_bits=4, beams=20)
    assert coder._tries(np.array([0, 1, 2, 4])) == 16 * (1 + (1 + 16) + (1 + 16 + 20 + 20))
    receipt = transmit(coder, *ladder_pair((64, 8, 8)))[1]
    assert receipt.candidates > receipt.parts["indices"]
