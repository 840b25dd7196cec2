"""The conformance suite catches coders that break its laws."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self
from unittest import SkipTest

import pytest
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.rejection import RejectionCoder
from laconic.testing import CoderSuite, bias, critical_bias, ladder_pair
from laconic.testing.process import account, ask


@dataclass(frozen=True)
class Wrong(RelativeEntropyCoder):
    """The rejection sampler, its draws or its books spoiled.

    Attributes:
        narrow: percent by which draws are too near the target's mean.
        tied: neighbours 0 and 1 of every four share their residual.
        theory: percent of the right theory_bits.
        hidden: bits that are written and not accounted for.
    """

    id: ClassVar[str] = "wrong"
    exact: ClassVar[bool] = True

    narrow: int = 0
    tied: int = 0
    theory: int = 100
    hidden: int = 0

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        stream.fixed([0], self.hidden)
        draw, receipt = RejectionCoder().encode(target, prior, stream, shared)
        residual = (draw - target.loc) / target.scale * (1 - self.narrow / 100)
        if self.tied:
            residual = residual.clone()
            residual[..., 1] = residual[..., 0]
        theory = receipt.bits * self.theory / 100
        return target.loc + target.scale * residual, replace(receipt, theory_bits=theory)

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        stream.fixed(1, self.hidden)
        return RejectionCoder().decode(prior, stream, shared)

    def config(self) -> dict[str, int]:
        return {"narrow": self.narrow}

    @classmethod
    def from_config(cls, config: Mapping[str, int]) -> Self:
        return cls(**config)


@dataclass(frozen=True)
class Inexact(Wrong):
    exact: ClassVar[bool] = False


def suite_of(*coders: RelativeEntropyCoder) -> CoderSuite:
    """The suite of the first; all are its budgets."""

    class Suite(CoderSuite):
        max_ratio, max_excess, theory_parts = 4.0, 0.05, ("indices", "outliers")

        def make(self) -> RelativeEntropyCoder:
            return coders[0]

        def budgets(self) -> tuple[RelativeEntropyCoder, ...]:
            return coders

    return Suite()


SPOILED = {
    "test_exact_draws_follow_the_target": Wrong(narrow=8),
    "test_exact_draws_follow_every_target": Wrong(narrow=15),
    "test_exact_draws_are_independent_in_small_blocks": Wrong(tied=1),
    "test_distortion_is_near_that_of_exact_draws": Wrong(narrow=8),
    "test_right_or_refused_at_the_edges": Wrong(narrow=70),
    "test_round_trip_over_shapes": Wrong(hidden=8),
    "test_no_number_is_refused": Wrong(hidden=8),
    "test_shapes_must_agree": Wrong(hidden=8),
}


@pytest.mark.parametrize("test", SPOILED)
def test_a_wrong_coder_is_caught(test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(suite_of(SPOILED[test]), test)()


@pytest.mark.parametrize("test", [t for t in SPOILED if "independent" in t or "follow" in t])
def test_the_unspoiled_one_passes(test: str) -> None:
    getattr(suite_of(Wrong()), test)()


@pytest.mark.parametrize(("theory", "caught"), [(100, False), (97, True), (103, True)])
def test_theory_is_held_to_two_percent(theory: int, caught: bool) -> None:
    suite = suite_of(Wrong(theory=theory))
    if not caught:
        suite.test_length_is_that_of_the_formula()
        return
    with pytest.raises(AssertionError):
        suite.test_length_is_that_of_the_formula()


def test_a_bound_may_be_generous_but_not_broken() -> None:
    for theory, caught in ((150, False), (97, True)):
        suite = suite_of(Wrong(theory=theory))
        type(suite).theory_is_bound = True
        if caught:
            with pytest.raises(AssertionError):
                suite.test_length_is_that_of_the_formula()
        else:
            suite.test_length_is_that_of_the_formula()


def test_bias_must_fall() -> None:
    wide, narrow, fair = Inexact(narrow=-20), Inexact(narrow=20), Inexact()
    suite_of(wide, fair).test_bias_falls_as_the_budget_grows()
    suite_of(narrow, fair).test_bias_falls_as_the_budget_grows()
    for coders in [(fair, fair), (fair, wide), (wide, wide), (wide,)]:
        with pytest.raises(AssertionError):
            suite_of(*coders).test_bias_falls_as_the_budget_grows()
    with pytest.raises(SkipTest, match="exact"):
        suite_of(Wrong()).test_bias_falls_as_the_budget_grows()


def test_the_bias_of_exact_draws_is_below_its_critical_value() -> None:
    assert bias(CODERS["rejection"](), *ladder_pair((1, 16, 32, 32))) < critical_bias(16384)


def test_another_process_reads_what_this_one_writes() -> None:
    coder, message = CODERS["rejection"](), bytes(8)
    assert ask(coder, message, (3,)) == account(coder, message, (3,))
    assert ask(coder, message, (3,)) != account(coder, bytes([9, 80, 7, 6]), (3,))


def test_another_process_knows_coders_of_modules_only() -> None:
    class Local(Wrong):
        pass

    with pytest.raises(SkipTest, match="no module"):
        ask(Local(), bytes(8), (3,))
