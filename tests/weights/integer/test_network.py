"""Integer networks: the quantised network's answers, and the same bits everywhere."""

import math
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.errors import ConfigError, InputError, LaconicError
from laconic.weights import KeptWhole, convert, plain, smaller
from laconic.weights.integer.network import IntegerNetwork, Scale, integer_network
from laconic.weights.methods.relaxed_quantization import calibrate
from laconic.weights.pruning.smaller import Select

STEP = 1 / 255


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pictures(count: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(256, (count, *shape), generator=generator).float() / 255


def quantised(net: nn.Module, x: Tensor, bits: int, **settings: object) -> nn.Module:
    """Converted, and trained for a few steps, so that no two steps are powers of two apart."""
    torch.manual_seed(2)
    penalty = convert(net, "rq", weight_bits=bits, activation_bits=bits, **settings)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for first in range(0, 100, 20):
        optimizer.zero_grad()
        functional.cross_entropy(net(x[first : first + 20]), torch.arange(20) % 3).backward()
        optimizer.step()
        penalty.constrain()
    return net.eval()


def rich_net() -> nn.Sequential:
    """Every option that is supported."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 6, 3, padding="same", bias=False), nn.ReLU()),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(6, 8, (3, 2), stride=(1, 2), padding=(1, 0), groups=2),
        nn.Conv2d(8, 4, 2, dilation=2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(12, 7),
        nn.Linear(7, 3),
    )


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_logits_are_the_quantised_networks(small_net: nn.Module, bits: int) -> None:
    """In float64, where ties are all but impossible: equal within the stated rounding."""
    x = pictures(300, 1, 8, 8)
    net = quantised(small_net, x, bits).double()
    integer = integer_network(net)
    wanted = net(x.double()).detach()
    # 2^-17 of the product of steps is half a unit; the rest are the floats' own errors.
    torch.testing.assert_close(integer(x), wanted, atol=0.51 * integer.unit + 1e-12, rtol=0)


def normed_net() -> nn.Sequential:
    """Batch norms with gains of all signs, dropout, and a channel that a norm has switched off."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.1),
        nn.MaxPool2d(2), nn.Conv2d(6, 4, 2), nn.BatchNorm2d(4, affine=False), nn.Identity(),
        nn.Flatten(), nn.Linear(16, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(7, 3),
    )  # fmt: skip
    net[1].weight.data = torch.tensor([1.0, -0.7, 0.3, 0.0, 2.0, -1.5])
    net[1].bias.data = torch.linspace(-0.2, 0.5, 6)
    return net


@pytest.mark.filterwarnings("ignore::laconic.weights.UntouchedModules")
@pytest.mark.parametrize("bits", [3, 8])
def test_batch_norms_are_part_of_the_way_to_the_next_grid(bits: int) -> None:
    x = pictures(200, 1, 8, 8)
    net = quantised(normed_net(), x, bits).double()
    integer = integer_network(net)
    wanted = net(x.double()).detach()
    torch.testing.assert_close(integer(x), wanted, atol=0.51 * integer.unit + 1e-12, rtol=0)
    assert len({tuple(step.weight.shape) for step in integer.steps if hasattr(step, "scale")}) == 4


def flat_net() -> nn.Sequential:
    """With two bits, some of the pixels that the linear layer is given are read by no unit."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4), nn.ReLU(), nn.Linear(4, 3)
    )


@pytest.mark.filterwarnings("ignore::laconic.weights.UntouchedModules")
@pytest.mark.parametrize("make", [flat_net, normed_net])
def test_a_pruned_network_has_an_integer_version_too(make: Callable[[], nn.Module]) -> None:
    x = pictures(200, 1, 8, 8)
    net = quantised(make(), x, 2).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeptWhole)
        small = smaller(net, x[:2].double())
    numbers = [sum(p.numel() for p in some.parameters()) for some in (small, plain(net))]
    assert numbers[0] < numbers[1]
    assert any(isinstance(module, Select) for module in small.modules()) == (make is flat_net)
    wanted, found = integer_network(net)(x), integer_network(small)(x)
    torch.testing.assert_close(found, wanted, atol=integer_network(net).unit, rtol=0)


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("quantise_bias", [True, False])
def test_strides_groups_padding_and_signed_inputs(bits: int, quantise_bias: bool) -> None:
    x = pictures(200, 2, 10, 13)
    net = quantised(rich_net(), x, bits, quantise_bias=quantise_bias).double()
    integer = integer_network(net)
    wanted = net(x.double()).detach()
    torch.testing.assert_close(integer(x), wanted, atol=0.51 * integer.unit + 1e-12, rtol=0)
    signed = [step for step in integer.steps if isinstance(getattr(step, "scale", None), Scale)]
    assert {step.scale.low for step in signed} >= {0.0, -math.inf}
    assert min(step.scale.low for step in signed[:-1]) < 0


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_decisions_are_those_of_the_float32_network(small_net: nn.Module, bits: int) -> None:
    x = pictures(300, 1, 8, 8)
    net = quantised(small_net, x, bits)
    best = net(x).detach().topk(2).values
    clear = best[:, 0] - best[:, 1] > 1e-3
    assert float(clear.float().mean()) > 0.8
    assert torch.equal(integer_network(net)(x).argmax(1)[clear], net(x).argmax(1)[clear])


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 8])
def test_the_same_bits_for_all_batches_threads_and_orders(
    bits: int, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = pictures(120, 2, 10, 13)
    integer = integer_network(quantised(rich_net(), x, bits))
    whole = integer.integers(x)
    assert torch.equal(whole, whole.round())
    for size in (1, 7, 50):
        assert torch.equal(torch.cat([integer.integers(part) for part in x.split(size)]), whole)
    torch.set_num_threads(2)
    assert torch.equal(integer.integers(x), whole)
    monkeypatch.setattr("laconic.weights.integer.network.PIECE", 1)
    assert torch.equal(integer.integers(x), whole)


def test_sums_are_exact_integers(small_net: nn.Module) -> None:
    """Against Python's own integers, of any size."""
    x = pictures(3, 1, 8, 8)
    integer = integer_network(quantised(small_net, x.repeat(40, 1, 1, 1), 8))
    hidden = integer.inputs.units(x)
    for step in integer.steps[:-1]:
        hidden = step(hidden)
    last = integer.steps[-1]
    for row, found in zip(hidden.long().tolist(), integer.integers(x).tolist(), strict=True):
        for weights, offset, value in zip(
            last.weight.long().tolist(), last.scale.offset.long().tolist(), found, strict=True
        ):
            assert sum(a * b for a, b in zip(row, weights, strict=True)) * 2**16 + offset == value


@pytest.mark.parametrize(
    "ratios",
    [[1.001e-6], [0.0131417], [0.5], [3.7654321], [0.0131417, -3.7654321], [0.0, -0.5]],
)
@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-128.0, 127.0)])
def test_a_scale_rounds_to_the_nearest_and_keeps_order(
    ratios: list[float], low: float, high: float
) -> None:
    """One ratio for all outputs, or one for each, as batch norms have."""
    ratio = torch.tensor(ratios, dtype=torch.float64)
    offset = torch.tensor([0.314159, -2.271828], dtype=torch.float64)  # No ties.
    scale = Scale.to_grid(ratio, offset, low, high)
    reach = 2 * (high + 3) / max(map(abs, ratios))
    x = torch.linspace(-reach, reach, 4001, dtype=torch.float64).round()[:, None].expand(-1, 2)
    exact = x * ratio + offset
    found = scale(x)
    torch.testing.assert_close(found, torch.floor(exact + 0.5).clamp(low, high), atol=0, rtol=0)
    assert bool(((found[1:] - found[:-1]) * ratio.sign() >= 0).all())
    largest = (scale.limit * scale.factor.abs()).max() + scale.offset.abs().max()
    assert float(largest) < 2**53
    assert torch.equal(scale.factor, scale.factor.round())


def test_the_first_layer_may_quantise_its_input(small_net: nn.Module) -> None:
    """Then any floats will do: they are rounded and clipped as the network does."""
    torch.manual_seed(0)
    x = torch.randn(200, 1, 8, 8)
    net = quantised(small_net, x, 4, input_bits=6).double()
    integer = integer_network(net)
    far = torch.cat([x, 100 * x]).double()
    torch.testing.assert_close(
        integer(far), net(far).detach(), atol=0.51 * integer.unit + 1e-12, rtol=0
    )


def test_inputs_off_their_grid_are_refused(small_net: nn.Module) -> None:
    x = pictures(100, 1, 8, 8)
    net = quantised(small_net, x, 4)
    integer = integer_network(net)
    assert isinstance(integer, IntegerNetwork)
    with pytest.raises(InputError, match="input_step"):
        integer((x - 0.1307) / 0.3081)
    with pytest.raises(InputError, match="input_limit"):
        integer(x + 1)
    assert torch.equal(integer_network(net, input_limit=510)(x), integer(x))
    # Pictures in [-1, 1], as in the source, are multiples of 1 / 255 as well.
    assert integer(2 * x - 1).shape == (100, 3)


def broken(kind: str, net: nn.Sequential) -> nn.Module:
    """Networks that have no integer version."""
    x = torch.rand(4, 1, 8, 8)
    if kind == "plain":
        return net
    if kind == "sigmoid":
        net[1] = nn.Sigmoid()
    if kind == "norm of nothing":
        net.insert(2, nn.BatchNorm2d(6))
    if kind == "norm without statistics":
        net.insert(1, nn.BatchNorm2d(6, track_running_stats=False))
    if kind == "two norms":
        net.insert(1, nn.BatchNorm2d(6))
        net.insert(1, nn.BatchNorm2d(6))
    if kind == "last norm":
        net.append(nn.BatchNorm1d(3))
    if kind == "padding":
        net[0] = nn.Conv2d(1, 6, 3, padding_mode="reflect")
    skip = ("4",) if kind == "skipped" else ()
    weight_bits = 0 if kind == "weights" else 4
    activation_bits = 0 if kind == "activations" else 4
    if kind == "other method":
        convert(net, "sparse-vd")
        return net
    penalty = convert(
        net, "rq", skip=skip, weight_bits=weight_bits, activation_bits=activation_bits
    )
    assert penalty.layers
    if kind != "uncalibrated":
        calibrate(net, x)
    return nn.ModuleDict({"net": net}) if kind == "not in a row" else net


@pytest.mark.filterwarnings("ignore::laconic.weights.UntouchedModules")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("plain", "Conv2d"), ("sigmoid", "Sigmoid"), ("padding", "padded by zeros"),
        ("skipped", "Linear"), ("weights", "weight_bits"), ("activations", "activation_bits"),
        ("norm of nothing", "no layer before"), ("last norm", "behind the last layer"),
        ("two norms", "right before it"), ("norm without statistics", "running statistics"),
        ("other method", "'rq'"), ("uncalibrated", "calibrate"), ("not in a row", "Sequential"),
    ],
)  # fmt: skip
def test_networks_without_an_integer_version_are_refused(
    small_net: nn.Sequential, kind: str, message: str
) -> None:
    with pytest.raises(LaconicError, match=message):
        integer_network(broken(kind, small_net))


def test_sums_that_float64_cannot_hold_are_refused() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4000, 3))
    convert(net, "rq", weight_bits=16)
    with pytest.raises(ConfigError, match="fewer bits"):
        integer_network(net, input_limit=2**20)
    tiny, zero = torch.tensor([[2.0**-40], [0.0]], dtype=torch.float64)
    with pytest.raises(ConfigError, match="fewer bits"):
        Scale.to_grid(tiny, zero, 0.0, 65535.0)
    bounded = Scale.to_grid(tiny, zero, 0.0, 65535.0, largest_sum=2.0**20)
    assert float(bounded(torch.full((1, 1), 2.0**20, dtype=torch.float64))) == 0
