"""Integer networks: near the float ones, and exact in whatever order the sums are taken."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from laconic.errors import ConfigError
from laconic.networks.fixed_point import arithmetic as fixed_point
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS, FixedAffine, from_float, to_float

UNIT = 2.0**-FRACTION_BITS


@settings(deadline=None)
@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=50))
def test_functions_are_near_the_float_ones(values: list[float]) -> None:
    x = from_float(torch.tensor(values, dtype=torch.float64))
    exact = to_float(x)
    leaky = torch.nn.functional.leaky_relu(exact, 0.2)
    assert float((to_float(fixed_point.leaky_relu(x)) - leaky).abs().max()) < 0.01 + UNIT
    asinh = to_float(fixed_point.asinh(x)) - torch.asinh(exact)
    assert float(asinh.abs().max()) < 3e-6 + UNIT
    size = exact.abs() + 1e-6
    assert float((to_float(fixed_point.log(size)) - size.log()).abs().max()) < 3e-6 + UNIT
    ratio = fixed_point.exp(x, 8) / exact.clamp(-8, 8).exp()
    assert float((ratio - 1).abs().max()) < 1.001 / 512 + UNIT


def test_expected_rates_are_those_of_a_gaussian_channel() -> None:
    scale = torch.logspace(-4, 3.4, 1000, dtype=torch.float64).float().double()
    rates = fixed_point.expected_rates(scale)
    assert rates.dtype == torch.int64
    assert float((rates - 128 * torch.log2(1 + scale.square())).abs().max()) < 1


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolutions_are_near_the_float_ones(kernel: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(7, 5, kernel, padding=kernel // 2).requires_grad_(False)
    x = 3 * torch.randn(2, 7, 6, 9, dtype=torch.float64)
    wanted = layer.double()(x)
    got = to_float(FixedAffine(layer)(from_float(x)))
    assert float((got - wanted).abs().max()) < 3 * 7 * kernel**2 * UNIT


def test_linear_layers_are_near_the_float_ones() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(7, 5).double().requires_grad_(False)
    x = torch.randn(3, 7, dtype=torch.float64)
    assert float((to_float(FixedAffine(layer)(from_float(x))) - layer(x)).abs().max()) < 20 * UNIT


@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_kernels_are_near_the_floats(kernel: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, kernel, padding=kernel // 2, groups=6).double().requires_grad_(False)
    x = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    assert float((to_float(FixedAffine(layer)(from_float(x))) - layer(x)).abs().max()) < 20 * UNIT


def test_sums_are_exact_in_any_order() -> None:
    """Channels in another order, another batch, one thread: the same integers."""
    torch.manual_seed(0)
    layer = nn.Conv2d(128, 16, 3, padding=1)
    x = from_float(300 * torch.randn(4, 128, 11, 13, dtype=torch.float64))
    whole = FixedAffine(layer)(x)
    order = torch.randperm(128)
    shuffled = nn.Conv2d(128, 16, 3, padding=1)
    shuffled.load_state_dict({"weight": layer.weight[:, order], "bias": layer.bias})
    assert torch.equal(FixedAffine(shuffled)(x[:, order]), whole)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = torch.cat([FixedAffine(layer)(image[None]) for image in x])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone, whole)


def test_weights_too_large_for_exact_sums_are_refused() -> None:
    layer = nn.Linear(100, 2)
    nn.init.constant_(layer.weight, 1e3)
    with pytest.raises(ConfigError, match="too large for exact"):
        FixedAffine(layer)


def test_tables_are_the_same_on_every_machine() -> None:
    """Pinned: a file written with one table is read with another one as garbage."""
    tables = fixed_point._log_table(), fixed_point._exp_table(8)
    digests = [hashlib.sha256(table.numpy().tobytes()).hexdigest()[:16] for table in tables]
    assert digests == PINNED


PINNED = ["352fd05ab2173dac", "63f99f1246172d77"]
