"""Sensitivities against a quadratic loss whose answer is known, and the allocation's optimality."""

import math

import pytest
import torch
from torch import nn

from laconic.weights.sensitivity import allocate, sensitivities


def quadratic() -> tuple[nn.Module, dict[str, float]]:
    net = nn.ParameterDict(
        {"a": torch.randn(30, 40), "b": 3 * torch.randn(50, 20), "c": torch.randn(10, 10)}
    )
    return net, {"a": 2.0, "b": 0.5, "c": 0.0}


def test_noise_adds_what_a_quadratic_loss_says() -> None:
    """Loss k |w - w0|² / |w0|² plus a slope: s = k, whatever the slope; 3 sigma of 2 draws."""
    torch.manual_seed(0)
    net, weights = quadratic()
    kept = {name: p.detach().clone() for name, p in net.named_parameters()}

    def loss() -> float:
        total = 0.0
        for name, p in net.named_parameters():
            moved = p.detach() - kept[name]
            total += weights[name] * float(moved.square().sum() / kept[name].square().sum())
            total += float(moved.sum())
        return total

    found = sensitivities(net, loss, list(weights), noise=0.05)
    for name, value in weights.items():
        count = kept[name].numel()
        assert found[name] == pytest.approx(value, abs=1e-3 + 3 * value * math.sqrt(1 / count))
    assert all(torch.equal(p, kept[name]) for name, p in net.named_parameters())


def test_the_allocation_cannot_be_improved() -> None:
    """Shifting error between two tensors at equal bits only adds loss."""
    sensitivity, counts = {"a": 2.0, "b": 0.01, "c": 5.0}, {"a": 1000, "b": 5000, "c": 10}
    t = allocate(sensitivity, counts, 1e-3, bounds=(1e-9, 1.0))
    assert sum(s * t[k] ** 2 for k, s in sensitivity.items()) == pytest.approx(1e-3)

    def added(shift: float) -> float:
        moved = dict(t, a=t["a"] * 2 ** (shift / 1000), b=t["b"] * 2 ** (-shift / 5000))
        return sum(s * moved[k] ** 2 for k, s in sensitivity.items())

    assert added(0) < min(added(50), added(-50))


def test_noisy_measurements_are_held_in_bounds() -> None:
    t = allocate({"a": -1.0, "b": 10.0}, {"a": 100, "b": 100}, 1e-2, bounds=(1e-3, 0.2))
    assert t["a"] == 0.2
    assert 1e-3 < t["b"] < 0.2
