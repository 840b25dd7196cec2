"""Faults that people found when they tried smaller networks, by their number in the report."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from laconic.codecs.miracle import shrink_drawn
from laconic.errors import InputError
from laconic.weights import convert
from laconic.weights.batch_norm import reestimate
from laconic.weights.relaxed_quantization import RelaxedPosterior, calibrate
from laconic.weights.sensitivity import sensitivities


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(net: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def failing() -> Iterator[torch.Tensor]:
    yield torch.randn(8, 4)
    raise OSError("the disk is gone")


def test_line_07_statistics_come_back_without_batches_or_where_one_fails() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    net(torch.randn(8, 4) + 2)
    before = state(net)
    with pytest.raises(InputError, match="no batch"):
        reestimate(net, [])
    assert same(net, before)
    with pytest.raises(OSError, match="disk"):
        reestimate(net, failing())
    assert same(net, before)


def test_line_07_ranges_of_inputs_come_back_where_a_batch_fails() -> None:
    net = two_layers()
    convert(net, "rq", activation_bits=4, input_bits=8)
    calibrate(net, torch.randn(8, 4))
    before = state(net)
    for wrong, error in (
        (torch.full((8, 4), torch.nan), InputError),
        (torch.randn(8, 5), RuntimeError),
    ):
        with pytest.raises(error):
            calibrate(net, wrong)
        assert same(net, before)
        found = [one for one in net.modules() if isinstance(one, RelaxedPosterior)]
        assert not any(one.collecting for one in found)


def test_line_07_parameters_come_back_where_a_loss_fails() -> None:
    net, calls = two_layers(), 0

    def loss() -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError("the disk is gone")
        return 0.0

    before = state(net)
    with pytest.raises(OSError, match="disk"):
        sensitivities(net, loss, ["0.weight"])
    assert same(net, before)


def test_line_07_a_network_that_is_half_drawn_is_put_back() -> None:
    net = two_layers()
    convert(net, "miracle", budget_bytes=20)
    before = state(net)

    def refine(layer: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shrink_drawn(net, refine)
    assert same(net, before)
    shrink_drawn(net)
