"""Conformance suites that ship with the package: coders from outside can be held to them too.

Subclass `CoderSuite`, say how to make the coder, and pytest finds the laws:

```
class TestMine(CoderSuite):
    def make(self) -> RelativeEntropyCoder:
        return MyCoder()
```
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.stream import QueueDecoder, QueueEncoder
from laconic.errors import CodingError, LaconicError, UnsupportedFileError

Pair = tuple[Normal, Normal]

FALSE_ALARM = 1e-3
"""Rate at which a correct exact coder fails the Kolmogorov-Smirnov check, over seeds."""


def ladder_pair(shape: tuple[int, ...], seed: int = 0, gain: float = 1.0) -> Pair:
    """Target and prior as a ladder gives them: unit-scale evidence on a wide range of priors.

    Formula: prior N(0, S), S log-uniform over six decades; y ~ N(0, S + 1);
    target = prior times N(y; z, 1) = N(w y, w), w = S / (S + 1).
    """
    source = SharedRandomness(seed)
    count = math.prod(shape)
    spread = torch.from_numpy(source.child(0).uniforms(0, count)).float()
    noise = torch.from_numpy(source.child(1).normals(0, count).copy())
    variance = gain * 10 ** (6 * spread - 4)
    weight = variance / (variance + 1)
    loc = (weight * noise * (variance + 1).sqrt()).reshape(shape)
    scale, prior = weight.sqrt().reshape(shape), variance.sqrt().reshape(shape)
    return Normal(loc, scale), Normal(torch.zeros(shape), prior)


def transmit(
    coder: RelativeEntropyCoder, target: Normal, prior: Normal, seed: int = 1
) -> tuple[Tensor, Receipt, bytes]:
    """Send one draw; returns it with its receipt and the message."""
    stream = QueueEncoder()
    draw, receipt = coder.encode(target, prior, stream, SharedRandomness(seed))
    return draw, receipt, stream.finish()


def check_round_trip(coder: RelativeEntropyCoder, target: Normal, prior: Normal) -> None:
    """The receiver has the sender's draw, bit for bit, and has read just what was written."""
    stream = QueueEncoder()
    draw, receipt = coder.encode(target, prior, stream, SharedRandomness(1))
    reader = QueueDecoder(stream.finish())
    received = coder.decode(prior, reader, SharedRandomness(1))
    assert draw.shape == prior.loc.shape
    assert bool(torch.isfinite(draw).all())
    assert torch.equal(draw, received)
    assert math.isclose(reader.bits, stream.bits, abs_tol=1e-6, rel_tol=1e-9)
    assert math.isclose(receipt.bits, stream.bits, abs_tol=1e-6, rel_tol=1e-9)
    assert receipt.ideal_bits >= 0


def kolmogorov_smirnov(values: np.ndarray) -> float:
    """Largest distance between the empirical distribution and the standard normal, times root n."""
    ordered = np.sort(values)
    cdf = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in ordered])
    steps = np.arange(ordered.size + 1) / ordered.size
    distance = max(float((steps[1:] - cdf).max()), float((cdf - steps[:-1]).max()))
    return distance * math.sqrt(ordered.size)


def check_damage(coder: RelativeEntropyCoder, trials: int, seed: int = 0) -> None:
    """Truncated or altered bytes end in a `LaconicError` or in something finite."""
    target, prior = ladder_pair((2, 4, 16, 16), seed)
    message = transmit(coder, target, prior)[2]
    words = SharedRandomness(seed).child(9).bits(0, 2 * trials).astype(np.int64)
    for i in range(trials):
        damaged = bytearray(message)
        place = int(words[2 * i]) % len(damaged)
        if i % 3 == 0:
            damaged = damaged[:place]
        else:
            damaged[place] ^= 1 << int(words[2 * i + 1]) % 8
        try:
            draw = coder.decode(prior, QueueDecoder(bytes(damaged)), SharedRandomness(1))
        except LaconicError:
            continue
        assert bool(torch.isfinite(draw).all())


class CoderSuite(ABC):
    """What every relative entropy coder keeps."""

    max_ratio: float
    """Most bits written per bit of KL on `ladder_pair((1, 16, 32, 32))`."""

    max_excess: float
    """Most that the squared distance to the target's mean may differ from exact draws'."""

    @abstractmethod
    def make(self) -> RelativeEntropyCoder:
        """The coder under test."""

    def test_round_trip_over_shapes(self) -> None:
        """Any shape, the empty and the single element among them."""
        for shape in [(0,), (1,), (), (7,), (1, 3, 5, 9), (2, 4, 16, 16), (0, 3, 2, 2), (70000,)]:
            check_round_trip(self.make(), *ladder_pair(shape))

    def test_round_trip_at_the_edges(self) -> None:
        """Q = p, wide q, tiny q, 60 nats in every dimension, far means."""
        one = torch.ones(64)
        for loc, scale in [(0, 1), (0, 3), (2, 1), (-3, 1.5), (0.3, 1e-12), (11, 1), (1e6, 1e-3)]:
            check_round_trip(self.make(), Normal(loc * one, scale * one), Normal(0 * one, one))

    def test_nan_is_refused(self) -> None:
        """A model that gives NaN is reported, not coded."""
        bad = Normal(torch.full((3,), math.nan), torch.ones(3), validate_args=False)
        good = Normal(torch.zeros(3), torch.ones(3))
        for target, prior in [(bad, good), (good, bad)]:
            try:
                transmit(self.make(), target, prior)
            except CodingError:
                continue
            raise AssertionError("NaN was coded")

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

    def test_exact_draws_follow_the_target(self) -> None:
        """Kolmogorov-Smirnov at a false-alarm rate of 1e-3; inexact coders are bounded loosely."""
        target, prior = ladder_pair((20000,), gain=0.1)
        draw = transmit(self.make(), target, prior)[0]
        residual = ((draw - target.loc) / target.scale).double().numpy()
        critical = math.sqrt(-0.5 * math.log(FALSE_ALARM / 2))
        assert kolmogorov_smirnov(residual) < (critical if self.make().exact else 30 * critical)

    def test_distortion_is_near_that_of_exact_draws(self) -> None:
        """Mean squared distance to the target's mean, in target variances: 1 for exact draws."""
        target, prior = ladder_pair((1, 16, 32, 32))
        draw = transmit(self.make(), target, prior)[0]
        excess = float(((draw - target.loc) / target.scale).square().mean()) - 1
        assert abs(excess) < self.max_excess

    def test_damage_is_reported_or_harmless(self) -> None:
        """Sixty truncations and bit flips."""
        check_damage(self.make(), 60)

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
