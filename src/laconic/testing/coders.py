"""The suite of the relative entropy coders."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar
from unittest import SkipTest

import numpy as np
import torch
from torch.distributions import Normal

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.errors import CodingError, UnsupportedFileError
from laconic.metrics.samples import critical_distance, energy_rank, normal_distance
from laconic.testing.checks import (
    FALSE_ALARM,
    bias,
    check_damage,
    check_garbage,
    check_refused,
    check_round_trip,
    critical_bias,
    ladder_pair,
    rated,
    residuals,
    standard_pair,
    transmit,
)
from laconic.testing.process import account, ask

TARGETS = ((0.0, 0.98), (0.3, 0.6), (1.5, 0.4), (-2.0, 0.05), (0.7, 0.999), (0.5, 1.0), (1.0, 1.3))
"""Means and scales, in prior units, that exact coders draw from: 0.0003 to 6.5 bits, two wide."""

_FAR = math.sqrt(120)
EDGES = (
    (0, 1),
    (0, 3),
    (0, 1e3),
    (2, 1),
    (-3, 1.5),
    (0.3, 1e-12),
    (0, 5e-27),
    (_FAR, 1),
    (1e6, 1e-3),
)
"""Q = p, wide q, tiny q, far q; (`_FAR`, 1) and (0, 5e-27) are 60 nats away."""


class CoderSuite(ABC):
    """What every relative entropy coder keeps."""

    max_ratio: float
    """Most bits written per bit of KL on `ladder_pair((1, 16, 32, 32))`."""

    max_excess: float
    """Most that the squared distance to the target's mean may differ from exact draws'."""

    theory_tolerance: float = 0.02
    """Most that the bits of `theory_parts` may differ from `Receipt.theory_bits`, relatively."""

    theory_is_bound: ClassVar[bool] = False
    """Whether `theory_bits` is an upper bound, not to be exceeded by more than the tolerance."""

    theory_parts: ClassVar[tuple[str, ...]] = ("indices",)
    """The parts of a message that `theory_bits` speaks of."""

    theory_gains: ClassVar[tuple[float, ...]] = (0.01, 1.0)
    """Of `ladder_pair((1, 16, 32, 32))`, for that comparison: 0.04 and 0.65 bits per dimension."""

    fixed_bias: ClassVar[str] = ""
    """Why the bias of an inexact coder has no budget to shrink with, if so."""

    @abstractmethod
    def make(self) -> RelativeEntropyCoder:
        """The coder under test."""

    def budgets(self) -> Sequence[RelativeEntropyCoder]:
        """An inexact coder with growing budgets: its bias falls from the first to the last."""
        return ()

    def test_round_trip_over_shapes(self) -> None:
        """Any shape, the empty and the single element among them."""
        for shape in [(0,), (1,), (), (7,), (1, 3, 5, 9), (2, 4, 16, 16), (0, 3, 2, 2)]:
            check_round_trip(self.make(), *ladder_pair(shape))
        # More than 2^16 dimensions, at low rates: coders that search need seconds for high ones.
        check_round_trip(self.make(), *ladder_pair((70000,), gain=0.01))

    def test_priors_that_say_what_they_expect(self) -> None:
        """A `RatedNormal` over shapes, whether the coder uses its rates or not; never for worse."""
        for shape in [(0,), (1,), (), (1, 3, 5, 9), (2, 4, 16, 16), (0, 3, 2, 2)]:
            target, prior = ladder_pair(shape)
            check_round_trip(self.make(), target, rated(prior))
        target, prior = ladder_pair((1, 16, 32, 32))
        plain, with_rates = (
            len(transmit(self.make(), target, p)[2]) for p in (prior, rated(prior))
        )
        assert with_rates <= 1.01 * plain

    def test_another_process_reads_and_writes_the_same(self) -> None:
        """A receiver with three threads of torch, OpenMP and numba; as a sender, the same bytes."""
        for shape in [(1, 4, 16, 16), (13,), (0,)]:
            message = transmit(self.make(), *ladder_pair(shape))[2]
            assert ask(self.make(), message, shape) == account(self.make(), message, shape)

    def test_right_or_refused_at_the_edges(self) -> None:
        """`EDGES` in every dimension, in one of many, and alone: a right draw or a `CodingError`.

        Right is: within six target scales on average (exact coders: 0.6 to 1.5), or as near as the
        16 bits of an outlier come.
        """
        for loc, scale in EDGES:
            alone = torch.full((1,), float(loc)), torch.full((1,), float(scale))
            every = alone[0].expand(64), alone[1].expand(64)
            within = torch.cat([torch.zeros(31), alone[0]]), torch.cat([torch.ones(31), alone[1]])
            for place in (alone, every, within):
                self._check_edge(*standard_pair(*place))

    def _check_edge(self, target: Normal, prior: Normal) -> None:
        try:
            transmit(self.make(), target, prior)
        except CodingError:
            return
        draw = check_round_trip(self.make(), target, prior)
        rounding = 2.0**-14 * draw.abs().max() + 2.0**-40
        distance = float(((draw - target.loc) / (target.scale + rounding)).square().mean().sqrt())
        assert distance < 6
        if self.make().exact and draw.numel() == 64:
            assert distance < 1.5
            assert distance > 0.6 or bool((rounding > 0.01 * target.scale).any())

    def test_no_number_is_refused(self) -> None:
        """NaN, infinite, zero and negative where they make no normal are reported, not coded."""
        bad = {"loc": (math.nan, math.inf, -math.inf), "scale": (math.nan, math.inf, 0.0, -1.0)}
        for name, values in bad.items():
            for value in values:
                numbers = {"loc": torch.zeros(3), "scale": torch.ones(3)}
                numbers[name][1] = value
                broken = Normal(**numbers, validate_args=False)
                good = Normal(torch.zeros(3), torch.ones(3))
                check_refused(self.make(), broken, good)
                check_refused(self.make(), good, broken)

    def test_shapes_must_agree(self) -> None:
        """A target that would broadcast against the prior is refused like any other."""
        for ours, theirs in [((3,), (1,)), ((3,), (1, 3)), ((2, 3), (3, 2)), ((0,), (1,))]:
            check_refused(self.make(), ladder_pair(ours)[0], ladder_pair(theirs)[1])

    def test_receiver_needs_the_priors_shape_only(self) -> None:
        """With another prior the receiver decodes the same standardised values."""
        target, prior = ladder_pair((1, 4, 16, 16))
        draw, _, message = transmit(self.make(), target, prior)
        off = Normal(torch.full_like(prior.loc, 2.0), torch.full_like(prior.scale, 4.0))
        other = self.make().decode(off, QueueDecoder(message), SharedRandomness(1))
        standard = (draw - prior.loc).double() / prior.scale.double()
        assert torch.allclose((other.double() - 2) / 4, standard, rtol=1e-5, atol=1e-5)

    def test_messages_stand_back_to_back(self) -> None:
        """A message ends where the receiver thinks that it ends."""
        pairs = [ladder_pair((1, 4, 16, 16), seed) for seed in (1, 2)]
        stream, shared = QueueEncoder(), SharedRandomness(5)
        sent = []
        for i, pair in enumerate(pairs):
            sent.append(self.make().encode(*pair, stream, shared.child(i))[0])
        reader = QueueDecoder(stream.finish())
        for i, (_, prior) in enumerate(pairs):
            assert torch.equal(self.make().decode(prior, reader, shared.child(i)), sent[i])

    def test_same_bytes_for_any_thread_count(self) -> None:
        """One thread and three write the same message."""
        target, prior = ladder_pair((1, 16, 32, 32))
        before, messages = torch.get_num_threads(), []
        try:
            for threads in (1, 3):
                torch.set_num_threads(threads)
                messages.append(transmit(self.make(), target, prior)[2])
        finally:
            torch.set_num_threads(before)
        assert messages[0] == messages[1]

    def test_length_is_within_the_declared_ratio(self) -> None:
        """Bytes on the wire against the KL."""
        target, prior = ladder_pair((1, 16, 32, 32))
        _, receipt, message = transmit(self.make(), target, prior)
        assert 8 * len(message) <= self.max_ratio * receipt.ideal_bits

    def test_length_is_that_of_the_formula(self) -> None:
        """`theory_parts` against `Receipt.theory_bits`, at each of `theory_gains`."""
        for gain in self.theory_gains:
            _, receipt, _ = transmit(self.make(), *ladder_pair((1, 16, 32, 32), gain=gain))
            written = sum(receipt.parts.get(part, 0.0) for part in self.theory_parts)
            assert written <= (1 + self.theory_tolerance) * receipt.theory_bits
            if not self.theory_is_bound:
                assert written >= (1 - self.theory_tolerance) * receipt.theory_bits

    def test_exact_draws_follow_the_target(self) -> None:
        """Kolmogorov-Smirnov at a false-alarm rate of 1e-3; inexact coders are bounded loosely."""
        values = residuals(self.make(), *ladder_pair((20000,), gain=0.1))
        critical = critical_distance(20000, FALSE_ALARM)
        assert normal_distance(values) < (critical if self.make().exact else 30 * critical)

    def test_exact_draws_follow_every_target(self) -> None:
        """Kolmogorov-Smirnov on 3000 draws of each of `TARGETS`; 1e-3 false alarms over them all.

        A coder may refuse the wide ones.
        """
        if not self.make().exact:
            raise SkipTest("inexact by declaration")
        critical = critical_distance(3000, FALSE_ALARM / len(TARGETS))
        for loc, scale in TARGETS:
            pair = standard_pair(torch.full((3000,), loc), torch.full((3000,), scale))
            try:
                values = residuals(self.make(), *pair)
            except CodingError:
                assert scale >= 1
                continue
            assert normal_distance(values) < critical, f"N({loc}, {scale}²)"

    def test_exact_draws_are_independent_in_small_blocks(self) -> None:
        """Energy distance between 1000 draws of 4 neighbours and true ones, rate 1 in 1000."""
        if not self.make().exact:
            raise SkipTest("inexact by declaration")
        row = torch.tensor([0.4, -1.0, 1.2, 0.0]), torch.tensor([0.7, 0.5, 0.3, 0.9])
        values = residuals(self.make(), *standard_pair(*(x.expand(1000, 4) for x in row)))
        source = SharedRandomness(7)
        true = source.child(0).normals(0, 4000).astype(np.float64).reshape(1000, 4)
        mixtures = round(1 / FALSE_ALARM) - 1
        keys = source.child(1).uniforms(0, mixtures * 2000).reshape(mixtures, 2000)
        assert energy_rank(values, true, keys) > 0

    def test_bias_falls_as_the_budget_grows(self) -> None:
        """By more than two exact coders would differ, but for a rate of `FALSE_ALARM`."""
        if self.make().exact or self.fixed_bias:
            raise SkipTest(self.fixed_bias or "exact: no bias")
        pair = ladder_pair((1, 16, 32, 32))
        found = [bias(coder, *pair) for coder in self.budgets()]
        assert len(found) > 1, "an inexact coder names growing budgets, or why it has none"
        assert found[0] - found[-1] > critical_bias(16384), found

    def test_distortion_is_near_that_of_exact_draws(self) -> None:
        """Mean squared distance to the target's mean, in target variances: 1 for exact draws."""
        values = residuals(self.make(), *ladder_pair((1, 16, 32, 32)))
        assert abs(float((values**2).mean()) - 1) < self.max_excess

    def test_damage_is_reported_or_harmless(self) -> None:
        """Sixty truncations and bit flips."""
        check_damage(self.make(), 60)

    def test_foreign_messages_are_reported_or_harmless(self) -> None:
        """Another seed, shape or coder, noise, nothing at all.

        A bare message cannot know that it is not its own: values may be wrong, but are finite. In a
        file, the header names coder and seed, and checksums name the damage.
        """
        shape, coder = (2, 4, 16, 16), self.make()
        message = transmit(coder, *ladder_pair(shape))[2]
        check_garbage(coder, message, shape, seed=2)
        check_garbage(coder, message, (3, 4, 16, 16))
        check_garbage(coder, message, ())
        for other in ("rejection", "trellis"):
            check_garbage(coder, transmit(CODERS[other](), *ladder_pair(shape))[2], shape)
        for size in (0, 1, 4, 1000):
            check_garbage(coder, SharedRandomness(3).bits(0, size).tobytes(), shape)

    def test_config_round_trips(self) -> None:
        """Config to coder and back; unknown and absurd values are refused."""
        coder = self.make()
        assert type(coder).from_config(coder.config()) == coder
        name = next(iter(coder.config()))
        for config in [{}, {**coder.config(), "x": 1}, {**coder.config(), name: -1}]:
            try:
                type(coder).from_config(config)
            except UnsupportedFileError:
                continue
            raise AssertionError(f"{config} was accepted")
