"""MIRACLE: the KL against Monte Carlo, the prior's scale, the budget, what encoded weights do."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import cross_entropy

from laconic.errors import ConfigError
from laconic.weights import convert, make_method, plain
from laconic.weights.methods.miracle import NATS_PER_BYTE, Budget, DrawnTensor


def some_tensor(seed: int = 0) -> DrawnTensor:
    torch.manual_seed(seed)
    tensor = DrawnTensor(torch.randn(8, 5), 0.3)
    with torch.no_grad():
        tensor.log_scale.copy_(torch.randn(8, 5) - 1)
    return tensor


def number(value: Tensor) -> float:
    return float(value.detach())


def train(
    net: nn.Module, penalty: object, data: tuple[Tensor, Tensor], steps: int, rate: float = 0.01
) -> None:
    x, y = data
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        rows = slice(50 * step % 600, 50 * step % 600 + 50)
        cost = penalty()  # type: ignore[operator]
        loss = cross_entropy(net(x[rows]), y[rows]) + cost / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        penalty.constrain()  # type: ignore[attr-defined]


def test_the_kl_is_that_of_gaussians() -> None:
    """Torch's closed form, and 10,000 draws of log q/p: within 4 standard errors, 6e-5."""
    tensor = some_tensor()
    prior = Normal(torch.zeros(8, 5), tensor.prior_scale.expand(8, 5))
    assert number(tensor.nats()) == pytest.approx(
        number(kl_divergence(tensor.target, prior).sum()), rel=1e-5
    )
    draws = tensor.target.sample((10_000,))
    ratio = (tensor.target.log_prob(draws) - prior.log_prob(draws)).sum((1, 2))
    error = 4 * number(ratio.std()) / math.sqrt(len(draws))
    assert number(ratio.mean()) == pytest.approx(number(tensor.nats()), abs=error)


def test_the_priors_scale_makes_the_kl_least() -> None:
    """So its own gradient is 0, and that of means and scales is complete without it."""
    tensor = some_tensor()
    scale = tensor.prior_scale.clone().requires_grad_()

    def nats(s: Tensor) -> Tensor:
        return kl_divergence(tensor.target, Normal(torch.zeros(()), s)).sum()

    nats(scale).backward()
    assert scale.grad is not None
    assert abs(number(scale.grad)) < 1e-3
    assert all(nats(tensor.prior_scale * f) > nats(tensor.prior_scale) for f in (0.99, 1.01))
    tensor.zero_grad()
    tensor.nats().backward()
    found = tensor.mean.grad
    mean, log_scale = tensor.mean.detach().requires_grad_(), tensor.log_scale.detach()
    whole = (mean.square() + (2 * log_scale).exp()).mean().sqrt()
    kl_divergence(Normal(mean, log_scale.exp()), Normal(0.0, whole)).sum().backward()
    assert found is not None
    assert mean.grad is not None
    torch.testing.assert_close(found, mean.grad, rtol=1e-3, atol=1e-4)


def test_biases_cost(small_net: nn.Sequential) -> None:
    penalty = convert(small_net, "miracle")
    assert isinstance(penalty.prior, Budget)
    with torch.no_grad():
        whole = number(penalty())
        for name, part in penalty.prior.parts():
            if name.endswith("bias"):
                part.log_scale += 0.5
        assert number(penalty()) < whole


@pytest.mark.slow
@pytest.mark.parametrize("budget", [12, 16])
def test_training_ends_at_the_budget(
    small_net: nn.Sequential, small_data: tuple[Tensor, Tensor], budget: int
) -> None:
    """And the network still classifies its patterns."""
    torch.manual_seed(0)
    penalty = convert(
        small_net, "miracle", budget_bytes=budget, start_ratio=0.5, beta=0.3, beta_rate=0.02
    )
    assert isinstance(penalty.prior, Budget)
    train(small_net, penalty, small_data, 200, rate=0.02)
    train(small_net, penalty, small_data, 100, rate=5e-3)
    assert penalty.prior.kl_bytes == pytest.approx(budget, rel=0.15)
    x, y = small_data
    wrong = float((small_net.eval()(x).argmax(1) != y).float().mean())
    assert wrong < 0.1


def test_the_penalty_is_beta_times_the_kl(small_net: nn.Sequential) -> None:
    penalty = convert(small_net, "miracle", beta=0.25, budget_bytes=1 << 20)
    assert isinstance(penalty.prior, Budget)
    nats = penalty.prior.kl_bytes * NATS_PER_BYTE
    assert number(penalty()) == pytest.approx(0.25 * nats, rel=1e-5)
    before = penalty.prior.beta
    penalty.constrain()
    assert penalty.prior.beta < before


def test_encoded_rows_stand_still_and_are_paid_for(
    small_net: nn.Sequential, small_data: tuple[Tensor, Tensor]
) -> None:
    penalty = convert(small_net, "miracle", budget_bytes=1000)
    assert isinstance(penalty.prior, Budget)
    parts = dict(penalty.prior.parts())
    tensor, scale = parts["4.weight"], float(parts["4.weight"].prior_scale)
    train(small_net, penalty, small_data, 3)
    draw = torch.randn(5, 54)
    before, rest = number(tensor.nats()), tensor.value[5:].clone()
    tensor.fix(draw, 80.0, scale)
    assert number(tensor.nats()) > 80 * math.log(2)
    assert number(tensor.nats()) != before
    train(small_net, penalty, small_data, 3)
    assert torch.equal(tensor.value[:5], draw)
    assert not torch.equal(tensor.value[5:], rest)
    assert float(tensor.prior_scale) == pytest.approx(scale)
    assert float(tensor.variance[:5].detach().sum()) == 0
    tensor.fix(torch.zeros(11, 54), 8.0, scale)
    assert number(tensor.nats()) == pytest.approx(88 * math.log(2))
    assert torch.equal(dict(plain(small_net).named_parameters())["4.weight"], tensor.value)


def test_state_goes_round_with_what_was_encoded(small_net: nn.Sequential) -> None:
    penalty = convert(small_net, "miracle")
    assert isinstance(penalty.prior, Budget)
    dict(penalty.prior.parts())["0.weight"].fix(torch.ones(2, 1, 3, 3), 9.0, 0.5)
    state = {name: value.clone() for name, value in small_net.state_dict().items()}
    other = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 16), nn.ReLU(),
        nn.Linear(16, 3),
    )  # fmt: skip
    second = convert(other, "miracle")
    other.load_state_dict(state)
    assert number(second()) == pytest.approx(number(penalty()), rel=1e-6)
    assert torch.equal(plain(other)[0].weight[:2], torch.ones(2, 1, 3, 3))  # type: ignore[index]


@pytest.mark.parametrize("field", ["budget_bytes", "beta", "start_ratio", "beta_rate"])
def test_impossible_settings_are_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        make_method("miracle", **{field: 0 if field == "budget_bytes" else 0.0})
