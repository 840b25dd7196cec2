"""The suite of weight methods catches those that break its laws."""

from dataclasses import dataclass
from typing import ClassVar
from unittest import SkipTest

import pytest
import torch
from torch import Tensor, nn

import laconic
from laconic.errors import InputError
from laconic.testing import WeightSuite
from laconic.testing.weights import Draws, check_moments
from laconic.weights import convert, plain
from laconic.weights.base import (
    Apply,
    LayerInfo,
    Point,
    StoredPosterior,
    WeightMethod,
    WeightPosterior,
)

SCALE = 0.05


@dataclass(frozen=True)
class Wrong(WeightMethod):
    """Gaussians of one scale under N(0, 1), spoiled by a fault."""

    name: ClassVar[str] = "wrong"
    fault: str = ""

    def posterior(self, info: LayerInfo) -> "WrongPosterior":
        return WrongPosterior(info.weight, info.bias, self.fault)


class WrongPosterior(StoredPosterior):
    def __init__(self, weight: Tensor, bias: Tensor | None, fault: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight + 0.01 * (fault == "starts elsewhere"))
        self.bias = None if bias is None else nn.Parameter(bias)
        self.fault, self.steps = fault, 0
        if fault == "idle parameter":
            self.idle = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        factor = 0.7 if self.fault == "narrow draws" else 1.0
        noise = factor * SCALE * torch.randn_like(self.weight)
        if self.fault == "draws in training alone" and not self.training:
            return apply(x, self.weight, self.bias)
        if self.fault == "float32 draws":
            return apply(x, self.weight + noise, self.bias).float()
        if self.fault == "batches alone" and x.ndim == 1:
            x = x[None]
        return apply(x, self.weight + noise, self.bias)

    def evaluate(self, x: Tensor, apply: Apply) -> Tensor:
        if self.fault == "draws in evaluation":
            return self(x, apply)  # type: ignore[no-any-return]
        if self.fault == "evaluates without bias":
            return apply(x, self.weight, None)
        return super().evaluate(x, apply)

    def penalty(self) -> Tensor:
        nats = 0.5 * self.weight.square() + 0.5 * SCALE**2 - torch.tensor(SCALE).log() - 0.5
        if self.fault == "mean penalty":
            return nats.mean()
        if self.fault == "negative penalty":
            return -nats.sum()
        if self.fault == "forgets its steps":
            return nats.sum() * (1 + self.steps)
        return nats.sum().detach() if self.fault == "no gradients" else nats.sum()

    def constrain(self) -> None:
        self.steps += 1
        if self.fault == "constrains too often":
            self.weight.data.mul_(0.9)

    def point(self) -> Point:
        weight = self.weight.detach()
        if self.fault == "no exact zeros":
            weight = weight + 1e-4
        if self.fault == "stores a draw":
            weight = weight + torch.randn_like(weight)
        return Point(weight, None if self.bias is None else self.bias.detach(), 0.01, 0.01)


def suite_of(fault: str) -> WeightSuite:
    class Suite(WeightSuite):
        def make(self) -> WeightMethod:
            return Wrong(fault)

        def draw(self, posterior: WeightPosterior, count: int) -> Draws:
            assert isinstance(posterior, WrongPosterior)
            weight, bias = posterior.weight, posterior.bias
            noise = SCALE * torch.randn(count, *weight.shape)
            return weight + noise, None if bias is None else bias.expand(count, -1)

    return Suite()


SPOILED = {
    "no gradients": "test_the_penalty_is_finite_and_reaches_every_parameter",
    "negative penalty": "test_the_penalty_is_finite_and_reaches_every_parameter",
    "idle parameter": "test_the_penalty_is_finite_and_reaches_every_parameter",
    "mean penalty": "test_the_penalty_is_a_sum_over_weights",
    "batches alone": "test_layers_of_all_kinds_keep_their_shapes",
    "evaluates without bias": "test_evaluation_computes_with_the_point",
    "starts elsewhere": "test_conversion_starts_from_the_trained_weights",
    "narrow draws": "test_draws_are_those_of_the_stated_posterior",
    "draws in evaluation": "test_evaluation_draws_nothing",
    "draws in training alone": "test_sampling_draws_in_evaluation_mode",
    "constrains too often": "test_constraining_twice_is_constraining_once",
    "float32 draws": "test_types_and_modes_stay",
    "no exact zeros": "test_the_smaller_network_computes_the_same",
    "stores a draw": "test_the_file_holds_the_finished_network",
    "forgets its steps": "test_training_resumes_exactly",
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_wrong_method_is_caught(fault: str) -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        getattr(suite_of(fault), SPOILED[fault])()


LAWS = [name for name in dir(WeightSuite) if name.startswith("test_")]


@pytest.mark.parametrize("law", LAWS)
def test_the_unspoiled_one_passes(law: str) -> None:
    getattr(suite_of(""), law)()


def test_every_law_that_a_method_can_break_has_a_wrong_method() -> None:
    of_convert = {
        "test_a_layer_used_twice_is_converted_once",
        "test_other_modules_are_named",
        "test_what_cannot_be_converted_is_refused_and_left_alone",
        "test_the_plain_network_has_the_types_of_the_first_one",
    }
    assert set(SPOILED.values()) | of_convert == set(LAWS)


def test_moments_differ_as_seldom_as_is_said() -> None:
    """400 pairs of equal samples: 0.4 alarms on average, and 4 or more once in 1,300 times."""
    torch.manual_seed(0)
    alarms = 0
    for _ in range(400):
        try:
            check_moments(torch.randn(500, 20), torch.randn(500, 20))
        except AssertionError:
            alarms += 1
    assert alarms < 4
    with pytest.raises(AssertionError, match="moment 2"):
        check_moments(torch.randn(1500, 20), 1.25 * torch.randn(1500, 20))
    with pytest.raises(AssertionError, match="moment 1"):
        check_moments(torch.randn(1500, 20), 0.3 + torch.randn(1500, 20))


@dataclass(frozen=True)
class Predicting(WeightMethod):
    """Gaussians under N(0, 1) that predict and are not stored."""

    name: ClassVar[str] = "predicting"

    def posterior(self, info: LayerInfo) -> "PredictingPosterior":
        return PredictingPosterior(info.weight, info.bias)


class PredictingPosterior(WeightPosterior):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.mean = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        return apply(x, self.mean + SCALE * torch.randn_like(self.mean), self.bias)

    def evaluate(self, x: Tensor, apply: Apply) -> Tensor:
        return apply(x, self.mean, self.bias)

    def penalty(self) -> Tensor:
        nats = 0.5 * (self.mean.square() + SCALE**2 - 1) - torch.tensor(SCALE).log()
        return nats.sum()


class PredictingSuite(WeightSuite):
    def make(self) -> WeightMethod:
        return Predicting()

    def draw(self, posterior: WeightPosterior, count: int) -> Draws:
        assert isinstance(posterior, PredictingPosterior)
        weights = posterior.mean + SCALE * torch.randn(count, *posterior.mean.shape)
        return weights, None if posterior.bias is None else posterior.bias.expand(count, -1)


OF_FILES = {
    "test_evaluation_computes_with_the_point",
    "test_the_plain_network_has_the_types_of_the_first_one",
    "test_the_smaller_network_computes_the_same",
    "test_the_file_holds_the_finished_network",
}


@pytest.mark.parametrize("law", LAWS)
def test_a_method_that_is_not_stored_passes_and_skips_the_laws_of_files(law: str) -> None:
    run = getattr(PredictingSuite(), law)
    if law in OF_FILES:
        with pytest.raises(SkipTest, match="not stored"):
            run()
    else:
        run()


def test_a_network_that_is_not_stored_is_refused_by_the_name_of_its_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    convert(net, Predicting())
    for call in (plain, laconic.shrink):
        with pytest.raises(InputError, match="'0' cannot be stored: a PredictingPosterior"):
            call(net)
    with pytest.raises(InputError, match="predicts and is not stored"):
        net[0].point()
    assert not hasattr(net.eval()[0], "weight")
