"""Statistics of batch normalisation after training."""

from collections.abc import Iterable, Iterator

import pytest
import torch
from torch import nn

from laconic.errors import InputError
from laconic.weights import convert
from laconic.weights.batch_norm import reestimate

pytestmark = pytest.mark.filterwarnings("ignore::laconic.weights.UntouchedModules")


def normed_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(16, 5), nn.BatchNorm1d(5, momentum=None), nn.Linear(5, 2),
    )  # fmt: skip


def test_statistics_are_means_over_all_batches() -> None:
    net = normed_net()
    batches = [torch.randn(size, 1, 4, 4) for size in (30, 10, 20)]
    assert reestimate(net, batches) == 2
    inputs = [net[0](batch).detach() for batch in batches]
    mean = sum(len(x) * x.mean((0, 2, 3)) for x in inputs) / 60
    variance = sum(len(x) * x.transpose(0, 1).flatten(1).var(1) for x in inputs) / 60
    torch.testing.assert_close(net[1].running_mean, mean)
    torch.testing.assert_close(net[1].running_var, variance)


def test_nothing_else_changes_and_nothing_is_drawn() -> None:
    net = normed_net()
    convert(net, "rq", weight_bits=2, activation_bits=2, skip=("1", "6"))
    net(torch.randn(8, 1, 4, 4))
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    batch, state = torch.randn(50, 1, 4, 4), torch.get_rng_state()
    reestimate(net, [batch])
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net.modules()] == modes
    assert [net[1].momentum, net[6].momentum] == [0.1, None]
    changed = {
        name for name, value in net.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed <= {
        f"{layer}.{name}"
        for layer in (1, 6)
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert "1.running_mean" in changed


def test_it_repairs_a_quantised_network() -> None:
    """The statistics of a network before its weights were rounded do not fit it."""
    net = normed_net().eval()
    x = torch.randn(400, 1, 4, 4)
    reestimate(net, [x])
    wanted = net[:2](x)
    with torch.no_grad():
        net[0].weight.mul_(3).add_(0.5)
    convert(net, "rq", weight_bits=8, skip=("1", "6"))
    assert float(net[:2](x).var().detach()) > 3 * float(wanted.var().detach())
    reestimate(net, [x])
    assert float(net[:2](x).var().detach()) == pytest.approx(float(wanted.var().detach()), rel=0.05)


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(net: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_without_batches_or_without_norms() -> None:
    net = normed_net()
    net(torch.randn(8, 1, 4, 4))
    before = state(net)
    with pytest.raises(InputError, match="no batch"):
        reestimate(net, [])
    assert same(net, before)
    assert reestimate(nn.Sequential(nn.Linear(2, 2)), []) == 0
    untracked = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False))
    assert reestimate(untracked, []) == 0


def failing() -> Iterator[torch.Tensor]:
    yield torch.randn(8, 1, 4, 4)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("batches", "error"),
    [
        (failing(), KeyboardInterrupt),
        ([torch.randn(8, 1, 4, 4), torch.randn(8, 3, 4, 4)], RuntimeError),
        ([torch.randn(1, 1, 4, 4)], ValueError),  # torch wants two values per channel
        ([torch.full((8, 1, 4, 4), torch.nan)], InputError),
    ],
)
def test_statistics_are_kept_where_a_batch_fails(
    batches: Iterable[torch.Tensor], error: type[BaseException]
) -> None:
    net = normed_net()
    net(torch.randn(8, 1, 4, 4))
    before, modes = state(net), [module.training for module in net.modules()]
    with pytest.raises(error):
        reestimate(net, batches)
    assert same(net, before)
    assert [module.training for module in net.modules()] == modes
    assert [net[1].momentum, net[6].momentum] == [0.1, None]
    assert not any(module._forward_pre_hooks for module in net.modules())


class Partly(nn.Module):
    """One norm that is called twice, and one that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.idle = nn.BatchNorm1d(2), nn.BatchNorm1d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.twice(self.twice(x) + 3)


def test_modules_count_what_they_see_themselves() -> None:
    """Both calls count alike; a norm that sees nothing keeps its statistics."""
    net = Partly()
    net.idle.running_mean.fill_(5.0)
    x = torch.randn(50, 2) + 1
    assert reestimate(net, [x]) == 1
    torch.testing.assert_close(net.twice.running_mean, (x.mean(0) + 3) / 2)
    assert net.idle.running_mean.tolist() == [5.0, 5.0]
