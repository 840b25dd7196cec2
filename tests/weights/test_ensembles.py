"""Ensembles as predictions, and training with adversarial examples."""

import pytest
import torch
from torch.nn import functional

import laconic
from laconic.errors import InputError
from laconic.testing.weight_nets import pictures, small_net
from laconic.training.adversarial import EnsembleLoss, fast_sign
from laconic.weights.ensembles import Ensemble


def test_members_are_draws() -> None:
    x = pictures()[0][:5]
    nets = [small_net(seed) for seed in range(3)]
    found = laconic.predict(Ensemble(nets), x)
    wanted = torch.stack([net(x).softmax(-1) for net in nets]).mean(0).detach()
    assert found.probs.shape == (3, 5, 3)
    torch.testing.assert_close(found.mean, wanted)
    torch.testing.assert_close(Ensemble(nets)(x).exp().detach(), wanted)
    assert float(found.epistemic.min()) > 0
    with pytest.raises(InputError, match="one network"):
        Ensemble([])


def test_adversarial_examples_raise_the_loss() -> None:
    x, y = pictures()
    net = small_net()

    def loss(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(net(inputs), labels)

    hard = fast_sign(loss, x, y, 0.05, (-2.0, 2.0))
    assert float(loss(hard, y).detach()) > float(loss(x, y).detach())
    assert float((hard - x.clamp(-2, 2)).abs().max()) <= 0.05 + 1e-6
    assert torch.equal(fast_sign(loss, x, y, 0.0), x)
    with pytest.raises(InputError, match="epsilon"):
        fast_sign(loss, x, y, -1.0)


def test_the_loss_trains_all_members() -> None:
    x, y = pictures()
    nets = Ensemble([small_net(seed) for seed in range(2)])
    loss, numbers = EnsembleLoss(nets.logits, epsilon=0.1)((x, y), 0)
    loss.backward()
    assert numbers["nll"] > 0
    assert all(bool(p.grad.any()) for p in nets.parameters() if p.grad is not None)
    single = [functional.cross_entropy(net(x), y) for net in nets.members]
    wanted = torch.stack(single).mean()
    torch.testing.assert_close(EnsembleLoss(nets.logits)((x, y), 0)[0], wanted)
