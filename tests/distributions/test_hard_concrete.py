"""Closed forms of the hard concrete distribution against draws, and the ends of u."""

import math

import pytest
import torch

from laconic.distributions.hard_concrete import HardConcrete

DRAWS = 200_000
LOG_ALPHAS = torch.tensor([-math.log(100), -2.0, -0.3, 0.0, 1.4, math.log(100)])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [2 / 3, 0.2, 1.5])
def test_closed_forms_equal_monte_carlo(temperature: float) -> None:
    """Five standard errors for 30 numbers: a false-alarm rate of 2e-5."""
    torch.manual_seed(0)
    gates = HardConcrete(LOG_ALPHAS.double(), temperature)
    z = gates.rsample((DRAWS,))
    threshold = torch.tensor(0.37)
    pairs = [
        ((z != 0).double(), gates.nonzero),
        ((z == 1).double(), gates.one),
        ((z > threshold).double(), gates.above(threshold)),
        (z, gates.mean),
    ]
    for draws, closed in pairs:
        error = draws.std(0) / DRAWS**0.5
        assert bool(((draws.mean(0) - closed).abs() < 5 * error + 1e-12).all())
    spread = (z - z.mean(0)).square()
    error = spread.std(0) / DRAWS**0.5
    assert bool(((spread.mean(0) - gates.variance).abs() < 5 * error).all())


@pytest.mark.usefixtures("float64")
def test_numbers_by_hand() -> None:
    """Louizos 106 and 107 at log alpha = 0: P(z != 0) = 1 / (1 + 11^(-2/3)), gate one half."""
    gates = HardConcrete(torch.zeros(1, dtype=torch.float64))
    assert float(gates.nonzero) == pytest.approx(1 / (1 + 11 ** (-2 / 3)), rel=1e-12)
    assert float(gates.test_gate) == pytest.approx(0.5, rel=1e-12)
    assert float(gates.mean) == pytest.approx(0.5, rel=1e-9)
    assert float(gates.above(torch.tensor(0.0))) == pytest.approx(float(gates.nonzero), rel=1e-12)


def test_the_test_gate_knows_no_temperature() -> None:
    """Field fault 3: draws divide by the temperature, the stored gate does not."""
    cold, warm = (HardConcrete(LOG_ALPHAS, t).test_gate for t in (0.1, 2.0))
    assert torch.equal(cold, warm)
    closes_at = math.log(0.1 / 1.1)  # where sigmoid(log alpha) 1.2 = 0.1
    ends = HardConcrete(torch.tensor([closes_at - 0.01, closes_at + 0.01, -closes_at + 0.01]))
    gate = ends.test_gate
    assert float(gate[0]) == 0
    assert float(gate[1]) > 0
    assert float(gate[2]) == 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_ends_of_u_do_not_overrule_a_gate(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ERRATA 15: without the clamp, u = 0 shuts every gate and u = 1 opens it, however sure."""
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.full(shape, value, **kwargs))
    log_alpha = torch.tensor([-30.0, 0.0, 30.0], requires_grad=True)
    z = HardConcrete(log_alpha).rsample()
    z.sum().backward()
    assert z.tolist() == [0, value, 1]
    assert log_alpha.grad is not None
    assert bool(log_alpha.grad.isfinite().all())


def test_gradients_of_draws_are_those_of_the_mean() -> None:
    """Pathwise against the quadrature's, five standard errors: a false-alarm rate of 3e-6."""
    torch.manual_seed(1)
    rows = LOG_ALPHAS.repeat(DRAWS, 1).requires_grad_()
    HardConcrete(rows).rsample().sum().backward()
    log_alpha = LOG_ALPHAS.clone().requires_grad_()
    HardConcrete(log_alpha).mean.sum().backward()
    assert rows.grad is not None
    assert log_alpha.grad is not None
    error = rows.grad.std(0) / DRAWS**0.5
    assert bool(((rows.grad.mean(0) - log_alpha.grad).abs() < 5 * error).all())
