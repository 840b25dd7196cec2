"""The format that is counted is the format that is rounded to."""

import itertools
import math

import pytest
import torch
from torch import nn

from laconic.errors import InputError
from laconic.weights import convert
from laconic.weights.precision import FloatFormat, bits, format_for, format_of, rounded


def _all_values(form: FloatFormat) -> torch.Tensor:
    """Every pattern of the format's bits, decoded by hand."""
    values = []
    fields = (range(2), range(2**form.exponent), range(2**form.significant))
    for sign, exponent, fraction in itertools.product(*fields):
        part = fraction / 2**form.significant
        power = form.bottom + max(0, exponent - 1)
        values.append((-1) ** sign * 2.0**power * (part + (exponent > 0)))
    assert len(values) == 2**form.bits
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    "form", [FloatFormat(4, 3, 0), FloatFormat(0, 3, -2), FloatFormat(3, 1, 1)]
)
def test_rounding_gives_the_nearest_of_the_formats_own_numbers(form: FloatFormat) -> None:
    torch.manual_seed(0)
    values = _all_values(form)
    x = torch.cat([3 * torch.randn(2000), 0.01 * torch.randn(500)]).double()
    error = (x[:, None] - values).abs().min(1).values
    torch.testing.assert_close((x - form.round(x)).abs(), error, rtol=0, atol=0)
    assert set(form.round(x).tolist()) <= set(values.tolist())
    torch.testing.assert_close(form.round(values), values, rtol=0, atol=0)


def test_zero_stays_zero() -> None:
    assert float(FloatFormat(2, 3, 0).round(torch.zeros(1))) == 0.0


@pytest.mark.parametrize(
    ("deviation", "significant"), [(2.0**-10, 10), (0.9, 1), (1.1, 0), (0.03, 6)]
)
def test_bits_follow_the_unit_round_off(deviation: float, significant: int) -> None:
    """Table 9.1: half precision has 10 significant bits and a unit round-off of 2^-10."""
    weight = torch.tensor([[0.9, -0.4, 0.0]])
    found = format_for(weight, torch.tensor([[1.0, 1.0, 1e6]]) * deviation**2)
    assert found is not None
    assert (found.significant, found.bits) == (significant, 4 + significant)


@pytest.mark.parametrize("largest", [0.999, 1.0, 1.001, 0.2499, 5.0])
def test_the_largest_weight_is_not_cut_off(largest: float) -> None:
    weight = torch.tensor([largest, -0.03 * largest])
    found = format_for(weight, torch.full((2,), 0.003))
    assert found is not None
    error = (found.round(weight) - weight).abs().max()
    assert float(error) <= 2.0 ** (found.top - found.significant - 1)


def test_pruned_weights_need_no_bits() -> None:
    assert format_for(torch.zeros(3, 2), torch.ones(3, 2)) is None


@pytest.mark.parametrize("method", ["bc-gnj", "bc-ghs", "sparse-vd"])
def test_bits_of_a_layer_grow_as_its_variance_falls(small_net: nn.Sequential, method: str) -> None:
    layer = convert(small_net, method).layers["4"]
    before = bits(layer)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith("log_variance"):
                parameter.sub_(2 * math.log(4))
    assert bits(layer) == before + 2


@pytest.mark.parametrize("method", ["bc-gnj", "bc-ghs"])
def test_stored_weights_fit_into_the_bits_that_are_counted(
    small_net: nn.Sequential, method: str
) -> None:
    """Published code counts floating point and rounds to a fixed-point grid."""
    layer = convert(small_net, method, log_variance=-2.0).layers["4"]
    form = format_of(layer)
    assert form is not None
    assert 2**form.bits == len(_all_values(form))
    assert set(rounded(layer).double().flatten().tolist()) <= set(_all_values(form).tolist())


def test_methods_without_precision_are_refused(small_net: nn.Sequential) -> None:
    with pytest.raises(InputError, match="precision"):
        bits(convert(small_net, "l0").layers["4"])
