"""GDN, IGDN and the parametrisation that keeps them well defined."""

import pytest
import torch
from torch import Tensor

from laconic.networks.gdn import BETA_FLOOR, GDN, IGDN, NonNegative

pytestmark = pytest.mark.usefixtures("float64")


def set_parameters(module: GDN | IGDN, beta: Tensor, gamma: Tensor) -> None:
    module.pool.beta = NonNegative(beta, BETA_FLOOR)
    module.pool.gamma = NonNegative(gamma)


def test_gdn_matches_the_closed_form() -> None:
    gdn = GDN(2)
    set_parameters(gdn, torch.tensor([1.0, 2.0]), torch.tensor([[0.5, 0.25], [0.0, 1.0]]))
    u = gdn(torch.tensor([2.0, -4.0]).reshape(1, 2, 1, 1)).flatten()
    # 1 + 0.5 * 4 + 0.25 * 16 = 7;  2 + 1 * 16 = 18
    assert torch.allclose(u, torch.tensor([2 / 7**0.5, -4 / 18**0.5]))


def test_igdn_matches_the_closed_form() -> None:
    igdn = IGDN(2)
    set_parameters(igdn, torch.tensor([1.0, 2.0]), torch.tensor([[0.5, 0.25], [0.0, 1.0]]))
    w = igdn(torch.tensor([2.0, -4.0]).reshape(1, 2, 1, 1)).flatten()
    assert torch.allclose(w, torch.tensor([2 * 7**0.5, -4 * 18**0.5]))


def test_start_is_unit_beta_and_a_tenth_of_the_identity() -> None:
    pool = GDN(5).pool
    assert torch.allclose(pool.beta(), torch.ones(5))
    assert torch.allclose(pool.gamma(), 0.1 * torch.eye(5))


@pytest.mark.parametrize("kind", [GDN, IGDN])
def test_gradient_equals_finite_differences(kind: type[GDN | IGDN]) -> None:
    module = kind(3)
    set_parameters(module, 0.5 + torch.rand(3), 0.1 + torch.rand(3, 3))
    x = torch.randn(2, 3, 2, 2, requires_grad=True)

    def apply(x: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
        parameters = {"pool.beta.root": beta, "pool.gamma.root": gamma}
        result: Tensor = torch.func.functional_call(module, parameters, (x,))
        return result

    roots = module.pool.beta.root, module.pool.gamma.root
    assert torch.autograd.gradcheck(apply, (x, *roots))


def test_igdn_is_the_first_step_of_the_inversion() -> None:
    gdn, igdn = GDN(4), IGDN(4)
    gamma = 0.1 * torch.eye(4) + 0.02
    set_parameters(gdn, torch.ones(4), gamma)
    set_parameters(igdn, torch.ones(4), gamma)
    w = 0.7 * torch.randn(3, 4, 5, 5)
    u = gdn(w)
    assert (igdn(u) - w).abs().mean() < 0.2 * (u - w).abs().mean()
    guess = igdn(u)
    for _ in range(60):
        guess = u * igdn.pool(guess).sqrt()
    assert torch.allclose(guess, w, atol=1e-9)


def test_values_stay_at_their_floor_under_descent() -> None:
    value = NonNegative(torch.tensor([0.0, 1.0]), 0.25)
    assert torch.allclose(value(), torch.tensor([0.25, 1.0]))
    optimiser = torch.optim.SGD(value.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        value().sum().backward()
        optimiser.step()
    assert (value() >= 0.25 - 1e-12).all()
    assert (value() < 0.26).all()


def test_a_zero_is_left_again() -> None:
    value = NonNegative(torch.zeros(1))
    optimiser = torch.optim.Adam(value.parameters(), lr=0.01)
    for _ in range(500):
        optimiser.zero_grad()
        (value() - 1).square().sum().backward()
        optimiser.step()
    assert torch.allclose(value(), torch.ones(1), atol=1e-2)
