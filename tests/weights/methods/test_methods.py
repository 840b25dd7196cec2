"""The conformance suite over the table of methods, and over settings that change what is drawn."""

from inspect import isabstract
from typing import ClassVar

import torch
from torch import Tensor

from laconic.testing.weights import Draws, WeightSuite
from laconic.weights import METHODS, make_method
from laconic.weights.base import WeightMethod, WeightPosterior
from laconic.weights.methods.dropout import DropoutPosterior
from laconic.weights.methods.gaussians import GaussianPosterior
from laconic.weights.methods.group_scales import GroupPosterior
from laconic.weights.methods.l0 import L0Posterior
from laconic.weights.methods.matrix_gaussian import MatrixGaussianPosterior
from laconic.weights.methods.miracle import MiraclePosterior
from laconic.weights.methods.multiplicative_flow import MultiplicativeFlowPosterior
from laconic.weights.methods.relaxed_quantization import RelaxedPosterior
from laconic.weights.methods.sparse_vd import SparseVDPosterior


def gaussians(mean: Tensor, log_variance: Tensor, count: int) -> Tensor:
    return mean + torch.exp(0.5 * log_variance) * torch.randn(count, *mean.shape)


def repeated(bias: Tensor | None, count: int) -> Tensor | None:
    return None if bias is None else bias.expand(count, -1)


class TestSparseVD(WeightSuite):
    start_error = 0.05  # weights that are all but zero are at once zero

    def make(self) -> WeightMethod:
        return make_method("sparse-vd")

    def noisy(self) -> WeightMethod:
        return make_method("sparse-vd", log_variance=-3.0)

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, SparseVDPosterior)
        weights = gaussians(posterior.mean, posterior.log_variance, count)
        return weights, repeated(posterior.bias, count)


class GroupSuite(WeightSuite):
    """Gaussians times a scale for each group."""

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, GroupPosterior)
        z = posterior.draw((count,))
        scales = torch.stack([posterior.along(row) for row in z])
        weights = scales * gaussians(posterior.mean, posterior.log_variance, count)
        biases = repeated(posterior.bias, count)
        if biases is not None and posterior.axis == 0:
            biases = biases * z
        return weights, biases


class TestGroupJeffreys(GroupSuite):
    def make(self) -> WeightMethod:
        return make_method("bc-gnj")

    def noisy(self) -> WeightMethod:
        return make_method("bc-gnj", log_variance=-3.0, scale_log_variance=-3.0)


class TestGroupHorseshoe(GroupSuite):
    def make(self) -> WeightMethod:
        return make_method("bc-ghs")

    def noisy(self) -> WeightMethod:
        return make_method("bc-ghs", log_variance=-3.0, scale_log_variance=-3.0)


class TestL0(WeightSuite):
    def make(self) -> WeightMethod:
        return make_method("l0")

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, L0Posterior)
        z = posterior.gates.rsample((count,))
        biases = repeated(posterior.bias, count)
        if biases is not None and posterior.axis == 0:
            biases = biases * z.flatten(1)
        return posterior.weight * z, biases


class TestL0OfWeights(TestL0):
    def make(self) -> WeightMethod:
        return make_method("l0", gates="weight")


class TestL0WithATarget(TestL0):
    """The multiplier starts at a price, so that there is a penalty to look at."""

    def make(self) -> WeightMethod:
        return make_method("l0", target=0.3, draws="example", decay=1.0)


class TestRelaxedQuantization(WeightSuite):
    start_error = 0.3
    draws = 300  # slow ones

    def make(self) -> WeightMethod:
        return make_method("rq")

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, RelaxedPosterior)
        grid = posterior.weight_grid
        assert grid is not None
        weights = grid(posterior.mean.expand(count, *posterior.mean.shape))
        return weights, None if posterior.bias is None else grid(repeated(posterior.bias, count))


class TestStraightThrough(TestRelaxedQuantization):
    def make(self) -> WeightMethod:
        return make_method("rq", weight_bits=8, straight_through=True, learn_temperature=True)


class TestMiracle(WeightSuite):
    def make(self) -> WeightMethod:
        return make_method("miracle", budget_bytes=400)  # near the KL, so that beta moves

    def noisy(self) -> WeightMethod:
        return make_method("miracle", start_ratio=0.7)

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, MiraclePosterior)
        drawn = {name: part.target.sample((count,)) for name, part in posterior.drawn.items()}
        return drawn["weight"], drawn.get("bias")


class TestSoftSharing(WeightSuite):
    is_divergence = False  # the logarithm of a density

    def make(self) -> WeightMethod:
        return make_method("sws")


class TestKMeans(WeightSuite):
    start_error = 0.05

    def make(self) -> WeightMethod:
        return make_method("kmeans")


class TestMeanField(WeightSuite):
    def make(self) -> WeightMethod:
        return make_method("mean-field")

    def noisy(self) -> WeightMethod:
        return make_method("mean-field", log_variance=-3.0)

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, GaussianPosterior)
        return posterior.draw_weights(count)


class TestLogUniform(TestMeanField):
    def make(self) -> WeightMethod:
        return make_method("log-uniform")

    def noisy(self) -> WeightMethod:
        return make_method("log-uniform", log_variance=-3.0)


class TestDropout(WeightSuite):
    def make(self) -> WeightMethod:
        return make_method("dropout", first_rate=0.2)

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, DropoutPosterior)
        return posterior.draw_weights(count)


class TestMatrixGaussian(WeightSuite):
    def make(self) -> WeightMethod:
        return make_method("vmg")

    def noisy(self) -> WeightMethod:
        return make_method("vmg", log_scale=-0.5)

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, MatrixGaussianPosterior)
        return posterior.draw_weights(count)


class TestMatrixGaussianOfLowRank(TestMatrixGaussian):
    """Low-rank covariances, the corrected objective, Gamma posteriors of the prior's scales."""

    settings: ClassVar = {
        "pseudo": 3, "objective": "corrected", "damping": 1e-4, "prior_scales": True,
    }  # fmt: skip

    def make(self) -> WeightMethod:
        return make_method("vmg", rank=2, **self.settings)

    def noisy(self) -> WeightMethod:
        return make_method("vmg", rank=2, log_scale=-0.5, **self.settings)


class TestMultiplicativeFlow(WeightSuite):
    def make(self) -> WeightMethod:
        return make_method("mnf")

    def noisy(self) -> WeightMethod:
        return make_method("mnf", log_variance=-3.0)

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, MultiplicativeFlowPosterior)
        return posterior.draw_weights(count)


def test_every_method_has_a_suite() -> None:
    suites = {suite().make().name for suite in below(WeightSuite) if not isabstract(suite)}
    assert set(METHODS) <= suites


def below(kind: type[WeightSuite]) -> list[type[WeightSuite]]:
    return [each for child in kind.__subclasses__() for each in [child, *below(child)]]
