"""The FNP against loops over points, pairs and graphs, and against enumeration of all graphs."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from laconic.errors import ConfigError, InputError
from laconic.functions import FNP, FNPSettings, choose_references
from laconic.functions.base import blocks, normal

DIM = 3


def small(references: int = 3, *, regression: bool = False, **settings: Any) -> FNP:
    """A process on inputs of three numbers, two classes or two targets, in float64."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(2)
    x = torch.randn(references, DIM, generator=generator)
    y: Tensor = torch.arange(references) % 2
    if regression:
        y = torch.randn(references, 2, generator=generator)
    chosen = {"embedding": 2, "latent": 2, "free_nats": 0.0, **settings}
    torso = nn.Sequential(nn.Linear(DIM, 5), nn.Tanh())
    return FNP(torso, (x, y), **chosen).double()


def still(process: FNP) -> FNP:
    """The same in evaluation mode, with embeddings that have no noise."""
    dim = process.settings.embedding
    with torch.no_grad():
        process.embedding_head.weight[dim:] = 0
        process.embedding_head.bias[dim:] = -40
    return process.eval()


def points(count: int, process: FNP, seed: int = 3) -> tuple[Tensor, Tensor]:
    """Inputs and targets of the process's kind."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, DIM, generator=generator).double()
    if process.reference_targets.is_floating_point():
        return x, torch.randn(count, 2, generator=generator).double()
    return x, torch.randint(0, 2, (count,), generator=generator)


class Slow:
    """One FNP whose embeddings have no noise, point by point.

    Args:
        process: with `embedding_head` of no noise.
        x: inputs of points that are not references.
        y: their targets.
    """

    def __init__(self, process: FNP, x: Tensor, y: Tensor) -> None:
        self.process = process
        xr, yr = process.references
        self.count = len(xr)
        self.targets = torch.cat([yr, y])
        with torch.no_grad():
            h = process.features(torch.cat([xr, x]))
            self.u = normal(process.embedding_head(h)).mean
            q = normal(process.latent_head(h))
            encoded = process.target_head(process.likelihood.encode(yr).double())
        self.q_mean, self.q_scale = q.mean, q.stddev
        latent = process.settings.latent
        self.mu = encoded[:, :latent] + self.q_mean[: self.count]
        self.nu = encoded[:, latent:] + self.q_scale[: self.count].log()

    def probability(self, i: int, j: int) -> float:
        """That j is a parent of i; the first points are the references."""
        if i < self.count:
            t = [sum(math.log(0.5 * math.erfc(-float(v) / math.sqrt(2))) for v in self.u[k])
                 for k in (i, j)]  # fmt: skip
            if not t[0] > t[1]:
                return 0.0
        distance = sum(
            (float(a) - float(b)) ** 2 for a, b in zip(self.u[i], self.u[j], strict=True)
        )
        return math.exp(-0.5 * math.exp(float(self.process.log_precision.detach())) * distance)

    def rows(self, i: int) -> list[tuple[float, list[int]]]:
        """All sets of parents of point i, each with its probability."""
        found = []
        for bits in itertools.product((0, 1), repeat=self.count):
            weight = 1.0
            for j, bit in enumerate(bits):
                g = self.probability(i, j)
                weight *= g if bit else 1 - g
            if weight:
                found.append((weight, [j for j, bit in enumerate(bits) if bit]))
        return found

    def prior(self, parents: list[int]) -> tuple[Tensor, Tensor]:
        """Mean and scale of p(z | parents)."""
        if not parents:
            return torch.zeros_like(self.mu[0]), torch.ones_like(self.mu[0])
        return self.mu[parents].mean(0), self.nu[parents].mean(0).exp()

    def kl(self, i: int) -> float:
        """E over graphs of KL(q(z_i) || p(z_i | parents)), by the textbook formula."""
        total = 0.0
        for weight, parents in self.rows(i):
            mean, scale = self.prior(parents)
            for k in range(len(mean)):
                ratio = float(self.q_scale[i, k] / scale[k])
                shift = float((self.q_mean[i, k] - mean[k]) / scale[k])
                total += weight * 0.5 * (ratio**2 - 1 - 2 * math.log(ratio) + shift**2)
        return total

    def _grid(self, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and weights of Gauss and Hermite over two dimensions."""
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(40))
        z = mean + scale * torch.cartesian_prod(nodes, nodes)
        w = torch.outer(weights, weights).flatten() / weights.sum() ** 2
        return z, w

    def log_likelihoods(self, i: int, z: Tensor) -> Tensor:
        """Of the target of point i under several latents."""
        u = self.u[i].expand(len(z), -1)
        with torch.no_grad():
            outputs = self.process._read(z, u)
        return -self.process.likelihood.nll(outputs, self.targets[i : i + 1])

    def nll(self, i: int) -> float:
        """-E_q[log p(y_i | z_i)] by quadrature."""
        z, w = self._grid(self.q_mean[i], self.q_scale[i])
        return -float((w * self.log_likelihoods(i, z)).sum())

    def log_evidence(self, i: int) -> float:
        """log p(y_i | references before it): the sum over graphs, the integral over z."""
        total = 0.0
        for weight, parents in self.rows(i):
            z, w = self._grid(*self.prior(parents))
            total += weight * float((w * self.log_likelihoods(i, z).exp()).sum())
        return math.log(total)

    def moments(self, i: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of z_i under the prior, over graphs and latents."""
        first, second = torch.zeros(2).double(), torch.zeros(2).double()
        for weight, parents in self.rows(i):
            mean, scale = self.prior(parents)
            first += weight * mean
            second += weight * (mean.square() + scale.square())
        return first, second - first.square()


KINDS = [
    pytest.param({}, id="fnp"),
    pytest.param({"plus": True}, id="fnp+"),
    pytest.param({"plus": True, "regression": True, "hidden": 4}, id="regression"),
]


def mean_and_error(draws: Tensor) -> tuple[float, float]:
    return float(draws.mean()), float(draws.std()) / math.sqrt(len(draws))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_that_of_enumeration(kind: dict[str, Any]) -> None:
    """Four standard errors, false alarm 6e-5 for each of two figures."""
    process = still(small(**kind))
    x, y = points(2, process)
    slow = Slow(process, x, y)
    with torch.no_grad():
        found = [process.bound(x, y, 2) for _ in range(400)]
    everyone = range(len(slow.targets))
    for draws, exact in (
        (torch.stack([one.nll_nats for one in found]), sum(map(slow.nll, everyone))),
        (torch.stack([one.kl_nats for one in found]), sum(map(slow.kl, everyone))),
    ):
        mean, error = mean_and_error(draws)
        assert abs(mean - exact) < 4 * error + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_below_the_evidence(kind: dict[str, Any]) -> None:
    """The evidence by the sum over all graphs and the integral over all latents."""
    process = still(small(**kind))
    x, y = points(2, process)
    slow = Slow(process, x, y)
    everyone = range(len(slow.targets))
    evidence = sum(map(slow.log_evidence, everyone))
    assert sum(map(slow.nll, everyone)) + sum(map(slow.kl, everyone)) > -evidence


def test_the_bound_meets_the_evidence_where_the_posterior_is_exact() -> None:
    """Targets that do not depend on z, a posterior that equals the prior of no parents."""
    process = still(small())
    with torch.no_grad():
        process.log_precision.fill_(20.0)  # No point is near another.
        for name in ("weight", "bias"):
            getattr(process.latent_head, name).zero_()
        process.output[1].weight.zero_()
    x, y = points(2, process)
    slow = Slow(process, x, y)
    evidence = sum(slow.log_evidence(i) for i in range(len(slow.targets)))
    with torch.no_grad():
        bound = process.bound(x, y, 2).negative_nats
    assert float(bound) == pytest.approx(-evidence)


def test_all_pairs_at_once_are_the_loop_over_pairs() -> None:
    """Mean edges against the probability of each pair; four standard errors, 9e-4 in all."""
    process = still(small(4))
    x, y = points(3, process)
    slow = Slow(process, x, y)
    with torch.no_grad():
        draws = torch.stack([process.edges(slow.u[4:], slow.u[:4]) for _ in range(1000)])
    expected = torch.tensor([[slow.probability(i, j) for j in range(4)] for i in range(7)])
    error = (expected * (1 - expected) / len(draws)).sqrt()
    assert ((draws.mean(0) - expected).abs() <= 4 * error + 1e-12).all()
    assert (draws[:, expected == 0] == 0).all()


def test_the_kl_is_that_of_draws() -> None:
    """Four standard errors, false alarm 6e-5."""
    process = still(small())
    with torch.no_grad():
        process.log_precision.fill_(20.0)
    x, y = points(1, process)
    slow = Slow(process, x, y)
    q = Normal(slow.q_mean, slow.q_scale)
    p = Normal(torch.zeros_like(slow.q_mean), torch.ones_like(slow.q_mean))
    z = q.sample(torch.Size([20_000]))
    mean, error = mean_and_error((q.log_prob(z) - p.log_prob(z)).sum((1, 2)))
    with torch.no_grad():
        exact = float(process.bound(x, y, 1).kl_nats)
    assert exact == pytest.approx(float(kl_divergence(q, p).sum()))
    assert abs(mean - exact) < 4 * error


def test_predictions_have_the_moments_of_enumeration() -> None:
    """Outputs linear in z, so that both moments are known; 4.5 standard errors, 4e-5 in all."""
    process = still(small(4, hidden=1))
    process.output = nn.Sequential(nn.Identity())
    x, y = points(3, process)
    slow = Slow(process, x, y)
    draws = process.outputs(x, 20_000)
    for i in range(3):
        mean, variance = slow.moments(4 + i)
        z = draws[:, i]
        assert ((z.mean(0) - mean).abs() < 4.5 * (variance / len(z)).sqrt()).all()
        spread = (z - mean).square()
        assert ((spread.mean(0) - variance).abs() < 4.5 * spread.std(0) / len(z) ** 0.5).all()


def test_predictions_for_training_points_use_their_posterior() -> None:
    """4.5 standard errors, false alarm 4e-5."""
    process = still(small(hidden=1))
    process.output = nn.Sequential(nn.Identity())
    x, y = points(2, process)
    q = Slow(process, x, y)
    draws = process.outputs(x, 10_000, seen=True)
    assert ((draws.mean(0) - q.q_mean[3:]).abs() < 4.5 * q.q_scale[3:] / 100).all()


def test_the_minibatch_bound_is_unbiased() -> None:
    """The mean over all batches of one point is the bound of the whole set; no latent noise."""
    process = still(small())
    with torch.no_grad():
        process.log_precision.fill_(20.0)
        process.latent_head.weight[2:] = 0
        process.latent_head.bias[2:] = -40
        x, y = points(4, process)
        whole = process.bound(x, y, 4).negative_nats
        parts = [process.bound(x[i : i + 1], y[i : i + 1], 4).negative_nats for i in range(4)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_the_order_of_points_changes_nothing() -> None:
    """Bound and predictions under permuted references, points and both; no noise in z, no edges."""
    process = still(small(4, plus=True))
    with torch.no_grad():
        process.latent_head.weight[2:] = 0
        process.latent_head.bias[2:] = -40
        process.log_precision.fill_(-40.0)  # Every pair that may be joined is joined.
        x, y = points(5, process)
        before = process.bound(x, y, 5)
        order, others = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 1, 0, 3, 2])
        process.reference_inputs.copy_(process.reference_inputs[order].clone())
        process.reference_targets.copy_(process.reference_targets[order].clone())
        after = process.bound(x[others], y[others], 5)
    torch.testing.assert_close(after.nll_nats, before.nll_nats)
    torch.testing.assert_close(after.kl_nats, before.kl_nats)
    torch.testing.assert_close(after.outputs, before.outputs[others])


def test_new_points_do_not_change_the_predictions_of_others() -> None:
    """Consistency, Louizos eq. 63: a point outside R is a leaf of the graph."""
    process = still(small(4, hidden=1))
    with torch.no_grad():
        process.log_precision.fill_(-40.0)
        process.target_head.bias[2:] = -60
        x, _ = points(3, process)
        alone, together = process.outputs(x[:1], 1), process.outputs(x, 1)
    torch.testing.assert_close(alone[:, 0], together[:, 0], rtol=0, atol=1e-6)


def test_blocks_of_draws_have_every_draw() -> None:
    assert sum(blocks(1000, 1 << 20)) == 1000
    assert max(blocks(1000, 1 << 20)) == 16
    assert list(blocks(2, 1 << 30)) == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_training_has_finite_gradients_everywhere(kind: dict[str, Any]) -> None:
    process = small(**kind).train()
    x, y = points(6, process)
    process.bound(x, y, 100).loss.backward()
    for name, parameter in process.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.slow
def test_training_learns_two_classes() -> None:
    """And is more certain near its data than far away."""
    torch.manual_seed(0)
    x = torch.cat([torch.randn(100, 2) * 0.3 - 1, torch.randn(100, 2) * 0.3 + 1])
    y = torch.arange(200) // 100
    references, (xm, ym) = choose_references(x, y, 20)
    torso = nn.Sequential(nn.Linear(2, 20), nn.ReLU())
    process = FNP(torso, references, embedding=3, latent=4)
    optimizer = torch.optim.Adam(process.parameters(), 0.01)
    for _ in range(150):
        loss = process.bound(xm, ym, len(xm)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        process.constrain()
    process.eval()
    probabilities = process.predictive(xm, 50).probs.mean(0)
    assert (probabilities.argmax(-1) == ym).float().mean() > 0.97
    far = process.predictive(xm + torch.tensor([60.0, -60.0]), 50).probs.mean(0)
    entropy = [-(p * p.log()).sum(-1).mean() for p in (probabilities, far)]
    assert entropy[0] < entropy[1]


def test_targets_of_any_dimension() -> None:
    """The published code takes one number only."""
    for y, shape in ((torch.randn(4), (7, 5)), (torch.randn(4, 3), (7, 5, 3))):
        process = FNP(nn.Linear(DIM, 4), (torch.randn(4, DIM), y))
        draws = process.predictive(torch.randn(5, DIM), 7).sample()
        assert draws.shape == shape
    process = FNP(nn.Linear(DIM, 4), (torch.randn(4, DIM), torch.arange(4)), classes=6)
    assert process.predictive(torch.randn(5, DIM), 7).probs.shape == (7, 5, 6)
    assert process(torch.randn(5, DIM)).shape == (5, 6)


def test_references_of_each_batch() -> None:
    process = small(3, random_references=True).train()
    x, y = points(8, process)
    assert process.bound(x, y, 80).outputs.shape == (5, 2)
    with pytest.raises(InputError, match="the batch has 3 examples; to draw 3 references"):
        process.bound(x[:3], y[:3], 80)


def test_the_share_of_references() -> None:
    """0: as in the data; else that share of the loss, as the published code has half."""
    process = small(3)
    torch.testing.assert_close(process._weights(3, 2, 10), torch.tensor([1.0, 1, 1, 5, 5]))
    process = small(3, reference_share=0.5)
    torch.testing.assert_close(
        process._weights(3, 2, 10), torch.tensor([13 / 6, 13 / 6, 13 / 6, 13 / 4, 13 / 4])
    )


def refusals() -> list[Any]:
    x, y = torch.randn(4, DIM), torch.arange(4)
    nan = x.clone()
    nan[1, 2] = math.nan
    torso = nn.Linear(DIM, 2)
    made = FNP(torso, (x, y))
    real = FNP(torso, (x, torch.randn(4)))
    return [
        (lambda: choose_references(x, y, 9), r"references: 9 of 4 examples; give a number from 1"),
        (lambda: choose_references(x, y, 0), r"references: 0 of 4 examples"),
        (lambda: FNP(torso, (nan, y)), r"references: inputs have NaN or infinite values"),
        (lambda: FNP(torso, (x[:3], y)), r"references: inputs of shape \(3, 3\) and targets"),
        (lambda: FNP(torso, (x, y - 1)), r"labels from -1 to 2; with 3 classes they are 0 to 2"),
        (lambda: FNP(torso, (x, y), classes=3), r"labels from 0 to 3; with 3 classes"),
        (lambda: FNP(torso, (x, torch.randn(4)), classes=3), r"classes: 3, but .* real numbers"),
        (lambda: FNP(torso, (x, y), embedding=0), r"embedding: 0; give 1 dimension or more"),
        (lambda: FNP(torso, (x, y), temperature=0.0), r"temperature: 0; give a number above 0"),
        (lambda: FNP(torso, (x, y), free_nats=-1.0), r"free_nats: -1.0; give a number of nats"),
        (lambda: FNP(torso, (x, y), dimension=3), r"fnp.dimension: unknown key; known are plus"),
        (lambda: FNP(torso, (x, y), reference_share=1.0), r"reference_share: 1; give a number"),
        (lambda: made.bound(x, y + 1, 9), r"the batch: labels from 1 to 4; with 4 classes"),
        (lambda: made.bound(nan, y, 9), r"the batch: inputs have NaN"),
        (lambda: made.bound(x, y, 0), r"examples: 0; give the size of the training set"),
        (lambda: made.bound(x, torch.randn(4), 9), r"targets of type torch.float32 for a classif"),
        (lambda: real.bound(x, y, 9), r"targets of type torch.int64 for a regression"),
        (lambda: real.bound(x, torch.full((4,), math.inf), 9), r"targets have NaN or infinite"),
        (lambda: real.bound(x, torch.randn(4, 2), 9), r"targets of shape \(4, 2\) instead of"),
        (lambda: made.outputs(x, 0), r"samples: 0; give the number of draws, 1 or more"),
        (lambda: made.outputs(nan, 3), r"x: inputs have NaN or infinite values"),
        (lambda: made.outputs(y[:, None], 3), r"x: inputs of type torch.int64"),
    ]


@pytest.mark.parametrize(("call", "message"), refusals())
def test_bad_input_has_one_clear_line(call: Any, message: str) -> None:
    with pytest.raises((InputError, ConfigError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_defaults_are_those_of_the_source() -> None:
    assert FNPSettings() == FNPSettings(
        plus=False, embedding=32, latent=64, temperature=0.3, free_nats=1.0
    )


def test_free_nats_weigh_the_kl() -> None:
    """Up by 0.1 in logarithm above 1.05 times the allowance, down below it, at most 1."""
    process = small(free_nats=1.0).train()
    free = process.free_nats
    start = float(free.log_weight)
    free(torch.tensor([3.0, 3.0]), 4)
    free.constrain()
    assert float(free.log_weight) == pytest.approx(start + 0.1)
    free(torch.tensor([2.0, 2.1]), 4)
    free.constrain()
    assert float(free.log_weight) == pytest.approx(start + 0.1)
    free(torch.tensor([1.0, 1.0]), 4)
    free.constrain()
    assert float(free.log_weight) == pytest.approx(start)
    for _ in range(300):
        free(torch.tensor([9.0]), 1)
        free.constrain()
    assert float(free.log_weight) == 0.0


def test_a_process_of_normal_numbers_is_loaded_from_its_tensors() -> None:
    """References, weights and the KL's weight are all in `state_dict`."""
    process, other = small(free_nats=1.0), small(free_nats=1.0)
    with torch.no_grad():
        process.free_nats.log_weight.fill_(-1.0)
        process.reference_inputs.add_(1.0)
    other.load_state_dict(process.state_dict())
    x, _ = points(4, process)
    drawn = []
    for one in (process, other):
        torch.manual_seed(5)
        drawn.append(one.eval().outputs(x, 3))
    assert torch.equal(*drawn)
    assert normal(torch.zeros(2)).stddev == 1
