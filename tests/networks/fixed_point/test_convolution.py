"""Integer convolutions: exact against arithmetic in integers, whole and at positions."""

import pytest
import torch
from torch import nn

from laconic.errors import ConfigError
from laconic.networks.causal import CausalConvolution
from laconic.networks.fixed_point import convolution as fixed_convolution
from laconic.networks.fixed_point.arithmetic import LIMIT, from_float, leaky_relu
from laconic.networks.fixed_point.convolution import FixedConvolution


def layers() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(3, 4, 1),
        CausalConvolution(3, 4, 5, centre=False),
        CausalConvolution(3, 4, 3, centre=True),
    ]


def maps(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**20), 2**20, (2, 3, 6, 7), generator=generator).double()


def in_integers(layer: FixedConvolution, x: torch.Tensor) -> torch.Tensor:
    """The definition, in int64."""
    margin, (_, _, height, width) = layer.margin, x.shape
    padded = nn.functional.pad(x, (margin,) * 4).long()
    total = layer.bias.long()[None, :, None, None].expand(len(x), -1, height, width).clone()
    for weight, (row, column) in zip(layer.weight.long(), layer.offsets, strict=True):
        top, left = row + margin, column + margin
        seen = padded[:, :, top : top + height, left : left + width]
        total += torch.einsum("oi,bihw->bohw", weight, seen)
    return ((total + 2**15) >> 16).double()


@pytest.mark.parametrize("kind", range(4))
def test_it_equals_integer_arithmetic(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = FixedConvolution(layers()[kind]), maps()
    assert torch.equal(layer(x), in_integers(layer, x))
    monkeypatch.setattr(fixed_convolution, "CACHE", 1)  # Other runs, the same sums.
    assert torch.equal(layer(x), in_integers(layer, x))


@pytest.mark.parametrize("kind", range(4))
def test_it_is_close_to_the_layer_in_floats(kind: int) -> None:
    layer, x = layers()[kind], maps()
    expected = layer(x.float() / 2**16)
    assert torch.allclose(FixedConvolution(layer)(x).float() / 2**16, expected, atol=2e-3)


def test_activations_before_and_after_are_the_leaky_relu() -> None:
    layer, x = FixedConvolution(layers()[0]), maps()
    assert torch.equal(layer(x, before=True, after=True), leaky_relu(layer(leaky_relu(x))))


def test_inputs_are_limited_and_left_as_they_are() -> None:
    layer, x = FixedConvolution(layers()[1]), maps() * 2**10
    before = x.clone()
    assert torch.equal(layer(x), layer(x.clamp(-LIMIT, LIMIT)))
    assert torch.equal(x, before)


def test_weights_too_large_for_exact_sums_are_refused() -> None:
    layer = nn.Conv2d(4, 2, 1)
    nn.init.constant_(layer.weight, 2000.0)
    with pytest.raises(ConfigError, match="too large for exact integer arithmetic"):
        FixedConvolution(layer)


def test_sums_are_exact_in_any_order() -> None:
    """Channels in another order, another batch, one thread: the same integers."""
    torch.manual_seed(0)
    layer = nn.Conv2d(128, 16, 3, padding=1)
    x = from_float(300 * torch.randn(4, 128, 11, 13, dtype=torch.float64))
    whole = FixedConvolution(layer)(x)
    order = torch.randperm(128)
    shuffled = nn.Conv2d(128, 16, 3, padding=1)
    shuffled.load_state_dict({"weight": layer.weight[:, order], "bias": layer.bias})
    assert torch.equal(FixedConvolution(shuffled)(x[:, order]), whole)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = torch.cat([FixedConvolution(layer)(image[None]) for image in x])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone, whole)
