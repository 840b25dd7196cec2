"""Faults that people found when they tried smaller networks, by their number in the report."""

import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import laconic
from laconic.codecs.network.miracle import shrink_drawn
from laconic.errors import InputError
from laconic.weights import (
    METHODS,
    NotSettled,
    Penalty,
    UntouchedModules,
    convert,
    plain,
    smaller,
    widths,
)
from laconic.weights.batch_norm import reestimate
from laconic.weights.methods.relaxed_quantization import RelaxedPosterior, calibrate
from laconic.weights.pruning.operations import expected_operations
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


def test_line_21_three_dimensional_convolutions_get_smaller() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(1, 4, 2), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 3, 2), nn.Flatten(),
        nn.Linear(3, 2),
    )  # fmt: skip
    net[0].weight.data[1] = 0
    x = torch.randn(2, 1, 5, 5, 5)
    small = smaller(net, x)
    assert widths(small) == {"0": (1, 3), "3": (3, 3), "5": (3, 2)}
    torch.testing.assert_close(small(x), net(x), rtol=1e-5, atol=1e-5)


class InPlace(nn.Module):
    """Changes what layers give it, with modules, functions and operators."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place, self.swish = in_place, nn.Hardswish(inplace=in_place)
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.b(self.swish(self.a(x)))
        if self.in_place:
            x *= 2
        else:
            x = x * 2
        return self.c(functional.relu(x, inplace=self.in_place))


def test_line_21_operations_are_counted_behind_what_works_in_place() -> None:
    torch.manual_seed(0)
    nets = [InPlace(in_place) for in_place in (True, False)]
    for net in nets:
        net.a.weight.data[0], net.a.bias.data[0], net.c.weight.data[:, 1] = 0, 0, 0
    found, wanted = (expected_operations(net, torch.randn(2, 4)) for net in nets)
    assert found == wanted == {"a": 3 * 8, "b": 3 * 6, "c": 2 * 6}
    assert nets[0].swish.inplace


def test_line_21_what_has_no_gradients_in_place_is_refused() -> None:
    class Lost(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[1](self[0](x).sigmoid_().mul_(2))

    with pytest.raises(InputError, match="in place"):
        expected_operations(Lost(nn.Linear(4, 4), nn.Linear(4, 2)), torch.randn(2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True])
def test_line_21_smaller_networks_are_exported_with_open_sizes(
    tmp_path: Path, dynamo: bool
) -> None:
    """Batch, height and width are left open; the example to export with has one picture."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    net[0].weight.data[1:3] = 0
    x = torch.randn(1, 2, 9, 9)
    small, file = smaller(net, x), tmp_path / "net.onnx"
    assert widths(small)["0"] == (2, 4)
    small.to(memory_format=torch.contiguous_format)
    dim = torch.export.Dim
    free = (
        {"dynamic_shapes": ({0: dim("batch"), 2: dim("height", min=4), 3: dim("width", min=4)},)}
        if dynamo
        else {"dynamic_axes": {"x": {0: "batch", 2: "height", 3: "width"}}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own
        torch.onnx.export(
            small, (x,), file, input_names=["x"], output_names=["y"], dynamo=dynamo, verbose=False,
            **free,
        )  # fmt: skip
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in ((1, 2, 9, 9), (3, 2, 12, 7)):
        x = torch.randn(shape)
        (found,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), net(x), rtol=1e-5, atol=1e-5)


def test_line_13_frozen_parameters_stay_frozen() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 2))
    net[2].requires_grad_(False)
    net[3].bias.requires_grad_(False)
    before = state(net)
    with pytest.warns(UntouchedModules, match=r"2 \(frozen\), 3 \(frozen\)"):
        penalty = convert(net, "sparse-vd")
    assert list(penalty.layers) == ["0"]
    assert [p.requires_grad for p in (*net[2].parameters(), *net[3].parameters())] == [
        False, False, True, False,
    ]  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 0.1)
    (net(torch.randn(8, 4)).square().mean() + penalty()).backward()
    optimizer.step()
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in ("2.weight", "3.bias"))
    assert not plain(net)[2].weight.requires_grad
    with pytest.raises(InputError, match=r"frozen.*requires_grad"):
        convert(nn.Sequential(nn.Linear(4, 4)).requires_grad_(False), "sparse-vd")


class Mixed(nn.Module):
    """Groups, layer normalisation, pieces, quotients and clamps in one row."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 8, 3), nn.Conv1d(8, 8, 1, groups=4)
        self.c, self.norm, self.d = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.b(torch.relu(self.a(x / 2))).chunk(2, dim=1)
        x = (value.clamp(-1, 1) / (1 + gate.abs())).mean(2)
        return self.d(torch.relu(self.norm(torch.relu(self.c(x)))))


@pytest.mark.parametrize("seed", range(6))
def test_missed_pruning_passes_groups_norms_pieces_quotients_and_clamps(seed: int) -> None:
    torch.manual_seed(seed)
    net = Mixed().eval()
    for layer in (net.a, net.b, net.c, net.d):
        layer.weight.data[torch.rand(len(layer.weight)) < 0.4] = 0
        layer.weight.data[:, torch.rand(layer.weight.shape[1]) < 0.4] = 0
        layer.bias.data[torch.rand(len(layer.bias)) < 0.4] = 0
    x = torch.randn(3, 2, 9)
    small = smaller(net, x)  # warns of nothing
    torch.testing.assert_close(small(x), net(x), rtol=1e-5, atol=1e-5)
    count, whole = (sum(p.numel() for p in one.parameters()) for one in (small, net))
    assert count < whole


def patterns() -> tuple[torch.Tensor, torch.Tensor]:
    """600 noisy vectors of three patterns."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(600) % 3
    x = 0.5 * torch.randn(600, 64, generator=generator)
    for label in range(3):
        x[labels == label, 20 * label : 20 * label + 8] += 1.0
    return x, labels


def fit(net: nn.Module, everything: nn.Module, penalty: Penalty | None, steps: int) -> None:
    x, y = patterns()
    optimizer = torch.optim.Adam(everything.parameters(), 5e-3)
    for _ in range(steps):
        loss = functional.cross_entropy(net(x), y)
        if penalty is not None:
            loss = loss + penalty() / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def right(net: nn.Module) -> float:
    x, y = patterns()
    return float((net(x).argmax(1) == y).float().mean())


@pytest.mark.slow
def test_line_13_default_sharing_keeps_the_answers_or_warns() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    fit(net, net, None, 60)
    before = right(net)
    assert before > 0.97
    early = deepcopy(net)
    with pytest.warns(NotSettled, match=r"0 by .*%.*Train longer before quantise"):
        convert(early, "sws").quantise()
    penalty = convert(net, "sws")
    fit(net, nn.ModuleDict({"net": net, "prior": penalty.prior}), penalty, 100)
    penalty.quantise()  # warns of nothing
    assert right(net) > before - 0.02
    assert len(plain(net)[0].weight.unique()) <= 17


@pytest.mark.parametrize("method", METHODS)
def test_missed_transposed_convolutions_and_embeddings_are_converted(method: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Embedding(10, 6), nn.Flatten(1), nn.Unflatten(1, (6, 4)),
        nn.ConvTranspose1d(6, 4, 3, stride=2, groups=2), nn.ReLU(), nn.ConvTranspose1d(4, 2, 1),
    )  # fmt: skip
    x = torch.randint(10, (5, 4))
    shape = net(x).shape
    penalty = convert(net, method)  # warns of nothing
    assert list(penalty.layers) == ["0", "3", "5"]
    assert net(x).shape == shape
    (net(x).square().mean() + penalty() / 5).backward()
    net.eval()
    torch.testing.assert_close(plain(net)(x), net(x))
    wanted = {name: value.shape for name, value in plain(net).state_dict().items()}
    found = laconic.expand(laconic.shrink(net))
    assert {name: value.shape for name, value in found.items()} == wanted
