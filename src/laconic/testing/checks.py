"""What the suites are made of: pairs of target and prior, single checks, measures of bias."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.distributions.rated import RatedNormal
from laconic.errors import CodingError, LaconicError
from laconic.metrics.samples import critical_distance, normal_distance

Pair = tuple[Normal, Normal]

FALSE_ALARM = 1e-3
"""Rate at which a correct coder fails one statistical check, over seeds."""


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


def rated(prior: Normal) -> RatedNormal:
    """The prior with the rates that `ladder_pair`'s targets have on average: ½ log2(1 + s²)."""
    scale = prior.scale.float().double()
    rates = torch.round(128 * torch.log2(1 + scale.square())).long()
    return RatedNormal(prior.loc.double(), scale, rates)


def standard_pair(loc: Tensor, scale: Tensor) -> Pair:
    """A target seen from a standard normal prior; nothing is checked."""
    prior = Normal(torch.zeros(loc.shape), torch.ones(loc.shape))
    return Normal(loc, scale, validate_args=False), prior


def transmit(
    coder: RelativeEntropyCoder, target: Normal, prior: Normal, seed: int = 1
) -> tuple[Tensor, Receipt, bytes]:
    """Send one draw; returns it with its receipt and the message."""
    stream = QueueEncoder()
    draw, receipt = coder.encode(target, prior, stream, SharedRandomness(seed))
    return draw, receipt, stream.finish()


def check_round_trip(coder: RelativeEntropyCoder, target: Normal, prior: Normal) -> Tensor:
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
    return draw


def check_refused(coder: RelativeEntropyCoder, target: Normal, prior: Normal) -> None:
    """A `CodingError` before anything is written."""
    stream = QueueEncoder()
    try:
        coder.encode(target, prior, stream, SharedRandomness(1))
    except CodingError:
        assert stream.bits == 0
        return
    raise AssertionError(f"{target.loc}, {target.scale} was coded for {prior.loc}, {prior.scale}")


def check_garbage(
    coder: RelativeEntropyCoder, message: bytes, shape: tuple[int, ...], seed: int = 1
) -> None:
    """Whatever the bytes are, they end in a `LaconicError` or in finite numbers of this shape."""
    plain = Normal(torch.zeros(shape), torch.ones(shape))
    for prior in (plain, rated(plain)):
        try:
            draw = coder.decode(prior, QueueDecoder(message), SharedRandomness(seed))
        except LaconicError:
            continue
        assert draw.shape == prior.loc.shape
        assert bool(torch.isfinite(draw).all())


def check_damage(coder: RelativeEntropyCoder, trials: int, seed: int = 0) -> None:
    """Truncated or altered bytes end in a `LaconicError` or in something finite."""
    shape = (2, 4, 16, 16)
    message = transmit(coder, *ladder_pair(shape, seed))[2]
    words = SharedRandomness(seed).child(9).bits(0, 2 * trials).astype(np.int64)
    for i in range(trials):
        damaged = bytearray(message)
        place = int(words[2 * i]) % len(damaged)
        if i % 3 == 0:
            damaged = damaged[:place]
        else:
            damaged[place] ^= 1 << int(words[2 * i + 1]) % 8
        check_garbage(coder, bytes(damaged), shape)


def residuals(coder: RelativeEntropyCoder, target: Normal, prior: Normal) -> DoubleArray:
    """The draw in target units, positive away from the prior: exact draws give N(0, 1)."""
    draw = transmit(coder, target, prior)[0]
    towards = torch.where(target.loc >= prior.loc, 1.0, -1.0)
    values: DoubleArray = ((draw - target.loc) / target.scale * towards).double().numpy()
    return values


def kolmogorov_smirnov(values: DoubleArray) -> float:
    """Largest distance between the empirical distribution and the standard normal, times root n."""
    return normal_distance(values) * math.sqrt(values.size)


def bias(coder: RelativeEntropyCoder, target: Normal, prior: Normal) -> float:
    """|Mean square of `residuals` - 1| plus their largest distance from the normal CDF."""
    values = residuals(coder, target, prior).reshape(-1)
    return abs(float((values**2).mean()) - 1) + normal_distance(values)


def critical_bias(count: int) -> float:
    """What `bias` of `count` exact draws exceeds at most at the rate `FALSE_ALARM`.

    Half of the rate for either term: 3.48 standard deviations of a mean square, and Kolmogorov's.
    """
    return 3.48 * math.sqrt(2 / count) + critical_distance(count, FALSE_ALARM / 2)
