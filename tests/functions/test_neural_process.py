"""The neural process: its latent, its bound, its contexts."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from laconic.errors import ConfigError, InputError
from laconic.functions import NP

DIM = 3


def small(**settings: Any) -> NP:
    torch.manual_seed(2)
    references = (torch.randn(5, DIM), torch.arange(5) % 2)
    torso = nn.Sequential(nn.Linear(DIM, 4), nn.Tanh())
    return NP(torso, references, **{"latent": 2, "summary": 6, **settings}).double()


def points(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, DIM, generator=generator).double()
    return x, torch.randint(0, 2, (count,), generator=generator)


def by_hand(process: NP, x: Tensor, y: Tensor) -> Tensor:
    """Mean and log scale of the latent, point by point.  Louizos 10.3.1."""
    total = torch.zeros(process.settings.summary).double()
    for one, label in zip(x, y, strict=True):
        code = torch.zeros(2).double()
        code[label] = 1
        total += process.summary_head(torch.cat([process.torso(one[None])[0], code]))
    found: Tensor = process.latent_head[1](torch.relu(total / len(x)))
    return found


def test_the_bound_with_fixed_references_is_its_formula() -> None:
    """The KL exactly; the likelihood against many draws, four standard errors, 6e-5."""
    process = small(random_references=False)
    x, y = points(4)
    everyone = (torch.cat([process.reference_inputs, x]), torch.cat([process.reference_targets, y]))
    with torch.no_grad():
        posterior, prior = by_hand(process, *everyone), by_hand(process, *process.references)
        q, p = (torch.distributions.Normal(one[:2], one[2:].exp()) for one in (posterior, prior))
        found = [process.bound(x, y, 40) for _ in range(300)]
        h = process.torso(everyone[0])
        z = torch.relu(q.sample(torch.Size([2000])))
        logits = process.output(
            torch.cat([h.expand(2000, -1, -1), z[:, None].expand(-1, len(h), -1)], -1)
        )
    labels = everyone[1].expand(2000, -1)
    nll = -torch.distributions.Categorical(logits=logits).log_prob(labels).sum(1).mean()
    torch.testing.assert_close(found[0].kl_nats, 40 / 9 * kl_divergence(q, p).sum())
    draws = torch.stack([one.nll_nats for one in found])
    assert abs(float(draws.mean() - 40 / 9 * nll)) < 4 * float(draws.std()) / math.sqrt(
        300 * 0.86  # Both sides are estimates.
    )
    assert found[0].outputs.shape == (4, 2)


def test_predictions_have_one_latent_for_all_points() -> None:
    """Draws of the logits equal a linear function of one latent, whatever the batch."""
    process = small().eval()
    x, _ = points(6)
    torch.manual_seed(0)
    together = process.outputs(x, 3)
    torch.manual_seed(0)
    alone = process.outputs(x[2:3], 3)
    torch.testing.assert_close(together[:, 2:3], alone)
    differences = together - process.output.bias - process.torso(x) @ process.output.weight[:, :4].T
    torch.testing.assert_close(differences, differences[:, :1].expand_as(differences))


def test_the_order_of_references_changes_nothing() -> None:
    process = small()
    order = torch.tensor([3, 1, 4, 0, 2])
    before = process._global(process._summaries(process.torso(process.reference_inputs),
                                                process.reference_targets).mean(0))  # fmt: skip
    after = by_hand(process, process.reference_inputs[order], process.reference_targets[order])
    torch.testing.assert_close(before.mean, after[:2])


def test_random_contexts_have_three_points_to_as_many_as_the_references() -> None:
    process = small()
    sizes = {len(process._context(20, torch.device("cpu"))) for _ in range(200)}
    assert sizes == {3, 4, 5}


def test_training_has_finite_gradients_everywhere() -> None:
    for random_references in (True, False):
        process = small(random_references=random_references).train()
        process.bound(*points(8), 100).loss.backward()
        for name, parameter in process.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_regression() -> None:
    process = NP(nn.Linear(DIM, 4), (torch.randn(5, DIM), torch.randn(5)), least_scale=0.01)
    assert process.predictive(torch.randn(7, DIM), 9).sample().shape == (9, 7)
    assert process.bound(torch.randn(7, DIM), torch.randn(7), 7).loss.isfinite()


def test_bad_input_has_one_clear_line() -> None:
    process = small()
    x, y = points(8)
    with pytest.raises(InputError, match="the batch has 2 examples; give 3 or more"):
        process.bound(x[:2], y[:2], 10)
    with pytest.raises(InputError, match="samples: 0"):
        process.outputs(x, 0)
    with pytest.raises(ConfigError, match="latent, summary: give 1 or more"):
        small(latent=0)
