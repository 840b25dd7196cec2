"""The mixture's density against a sum in probabilities, hyper-priors against torch's, merging."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Beta, Categorical, Gamma, MixtureSameFamily, Normal

from laconic.weights.methods.mixture import CHUNK, BetaPrior, Components, GammaPrior, Mixture


def components(means: list[float], deviations: list[float], mixing: list[float]) -> Components:
    """Of known numbers, in double precision."""
    m, s, p = (torch.tensor(part, dtype=torch.float64) for part in (means, deviations, mixing))
    return Components(m, -2 * s.log(), p.log())


THREE = components([0.0, -0.3, 0.5], [0.02, 0.1, 0.05], [0.9, 0.06, 0.04])


def test_density_is_the_mixtures() -> None:
    values = torch.linspace(-1, 1, CHUNK + 7, dtype=torch.float64)
    scale = (-0.5 * THREE.log_precisions).exp()
    truth = MixtureSameFamily(Categorical(THREE.log_mixing.exp()), Normal(THREE.means, scale))
    torch.testing.assert_close(THREE.log_density(values), truth.log_prob(values))


def test_density_integrates_to_one() -> None:
    grid = torch.linspace(-2, 2, 40_001, dtype=torch.float64)
    mass = torch.trapezoid(THREE.log_density(grid).exp(), grid)
    assert float(mass) == pytest.approx(1, abs=1e-9)


def test_gradients_are_autograds() -> None:
    mixture = Mixture(torch.tensor([-0.3, 0.2, 0.4]), 0.1, 0.8, learn_share=True).double()
    values = torch.tensor([-0.31, 0.0, 0.02, 0.7], dtype=torch.float64, requires_grad=True)
    names = ("means", "log_precisions", "mixing_logits", "zero_logit")

    def density(values: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(_Density(mixture), _prefixed(given), (values,))

    starts = [getattr(mixture, name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(density, (values, *starts))


class _Density(torch.nn.Module):
    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture

    def forward(self, values: Tensor) -> Tensor:
        return self.mixture.components().log_density(values)


def _prefixed(given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"mixture.{name}": value for name, value in given.items()}


def test_mixed_precision_leaves_the_density_alone() -> None:
    """Field notes: nothing rounds (w - mu)² at a precision of 1e5 to 8 bits."""
    narrow = Components(
        torch.tensor([0.0, 0.3]), torch.full((2,), 11.5), torch.tensor([0.99, 0.01]).log()
    )
    values = torch.tensor([0.301, 0.299, 0.004])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = narrow.log_density(values)
    torch.testing.assert_close(mixed, narrow.log_density(values))


@pytest.mark.parametrize("learn_share", [False, True])
def test_proportions_are_normalised_and_the_zero_component_is_fixed(learn_share: bool) -> None:
    mixture = Mixture(torch.linspace(-1, 1, 16), 0.25, 0.99, learn_share)
    with torch.no_grad():
        mixture.mixing_logits += torch.randn(16, generator=torch.Generator().manual_seed(0)) + 7
        found = mixture.components()
    assert float(found.log_mixing.exp().sum()) == pytest.approx(1, abs=1e-6)
    assert float(found.log_mixing[0].exp()) == pytest.approx(0.99, abs=1e-6)
    assert float(found.means[0]) == 0
    assert ("zero_logit" in dict(mixture.named_parameters())) is learn_share


def test_far_weights_stay_away_from_zero() -> None:
    """Field fault 9: densities that all underflow sent far weights to the first component."""
    narrow = components([0.0, -0.3, 0.5], [0.01, 0.01, 0.01], [0.99, 0.005, 0.005])
    values = torch.tensor([-3.0, 0.004, 3.0, 0.49], dtype=torch.float64)
    plain = narrow.log_joint(values).exp()
    assert float(plain[:, 0].max()) == 0, "the trap is not set: nothing underflows"
    assert narrow.responsible(values).tolist() == [1, 0, 2, 2]


def test_assignment_uses_normalised_proportions() -> None:
    """Field fault 9: logits that drift together must not outweigh the fixed zero component."""
    values = torch.linspace(-1, 1, 4001)
    mixture = Mixture(torch.tensor([-0.2, 0.2]), 0.1, 0.9, learn_share=False)
    before = mixture.components().responsible(values)
    with torch.no_grad():
        mixture.mixing_logits += 50
    assert torch.equal(mixture.components().responsible(values), before)
    assert set(before.tolist()) == {0, 1, 2}


def test_assignment_is_that_of_the_largest_responsibility() -> None:
    values = torch.linspace(-0.6, 0.8, 501, dtype=torch.float64)
    scale = (-0.5 * THREE.log_precisions).exp()
    joint = THREE.log_mixing.exp() * Normal(THREE.means, scale).log_prob(values[:, None]).exp()
    assert torch.equal(THREE.responsible(values), (joint / joint.sum(1, keepdim=True)).argmax(1))


def test_hyper_priors_are_gamma_and_beta() -> None:
    precision = torch.tensor([1.0, 400.0, 2500.0, 60_000.0], dtype=torch.float64)
    for deviation, count in ((0.02, 10_000.0), (0.05, 500.0), (0.3, 2.0)):
        ours = GammaPrior.around(deviation, count)
        theirs = Gamma(
            torch.tensor(ours.shape, dtype=torch.float64),
            torch.tensor(ours.rate, dtype=torch.float64),
        )
        torch.testing.assert_close(ours.log_density(precision.log()), theirs.log_prob(precision))
    share = torch.tensor([0.2, 0.9, 0.99], dtype=torch.float64)
    prior = BetaPrior.around(0.9, 1000)
    truth = Beta(torch.tensor(prior.zeros).double(), torch.tensor(prior.others).double())
    torch.testing.assert_close(prior.log_density(share.logit()), truth.log_prob(share))


def test_hyper_priors_have_their_mode_where_asked() -> None:
    """Field fault 10: 0.02 is a standard deviation; Gamma(5e3, 2) is the released code's."""
    prior = GammaPrior.around(0.02, 10_000)
    assert prior.rate == pytest.approx(2)
    assert prior.shape == pytest.approx(5e3, rel=1e-3)
    precision = torch.linspace(1500, 3500, 200_001, dtype=torch.float64)
    best = float(precision[prior.log_density(precision.log()).argmax()])
    assert best**-0.5 == pytest.approx(0.02, rel=1e-4)
    assert best**-0.5 != pytest.approx(math.sqrt(0.02), rel=0.5)
    share = torch.linspace(0.8, 0.999, 199_001, dtype=torch.float64)
    beta = BetaPrior.around(0.9, 50).log_density(share.logit())
    assert float(share[beta.argmax()]) == pytest.approx(0.9, abs=1e-4)


def test_a_firm_hyper_prior_counts_like_weights() -> None:
    """`count` weights of deviation d and n of deviation e: the mode is their common variance."""
    n, count, d, e = 3000, 1000, 0.05, 0.01
    precision = torch.linspace(1000, 12_000, 1_100_001, dtype=torch.float64)
    seen = n * (0.5 * precision.log() - 0.5 * precision * e**2)
    best = precision[(seen + GammaPrior.around(d, count).log_density(precision.log())).argmax()]
    assert 1 / float(best) == pytest.approx((n * e**2 + count * d**2) / (n + count), rel=1e-4)


def test_merging_takes_weighted_moments() -> None:
    """Ullrich 4.7, by hand."""
    close = components([0.0, 0.4, 0.402], [0.02, 0.05, 0.06], [0.9, 0.06, 0.04])
    merged = close.merged(0.1)
    assert merged.means.tolist() == pytest.approx([0, 0.4008])
    variance = 0.6 * 0.05**2 + 0.4 * 0.06**2
    assert float(merged.log_precisions[1]) == pytest.approx(-math.log(variance))
    assert merged.log_mixing.exp().tolist() == pytest.approx([0.9, 0.1])


def test_merging_keeps_zero_at_zero() -> None:
    merged = components([0.0, 0.001, 0.5], [0.02, 0.02, 0.02], [0.9, 0.05, 0.05]).merged(0.05)
    assert merged.means.tolist() == [0, 0.5]
    assert float(merged.log_mixing[0].exp()) == pytest.approx(0.95)


def test_only_what_says_the_same_merges() -> None:
    """KL of equal spreads d apart is (d / s)² / 2: 0.125 for half a deviation."""
    pair = components([0.0, 0.3, 0.31], [0.02, 0.02, 0.02], [0.9, 0.05, 0.05])
    assert len(pair.merged(0.12).means) == 3
    assert len(pair.merged(0.13).means) == 2
    nested = components([0.0, 0.3, 0.3], [0.02, 0.01, 0.2], [0.9, 0.05, 0.05])
    assert len(nested.merged(0.5).means) == 3, "same mean, other spread"
    assert len(THREE.merged(1e9).means) == 1
    assert THREE.merged(1e9).means.tolist() == [0]
