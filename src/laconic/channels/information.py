"""Estimated mutual information between what enters a channel and what leaves it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.channels.base import Channel, Received


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error.

    Attributes:
        value: bits per use.
        error: standard error of the value.
    """

    value: float
    error: float


@torch.no_grad()
def information_bits(channel: Channel, alphabet: Tensor, draws: int) -> Estimate:
    """I(Y; Z | state) in bits per use, for inputs drawn uniformly from an alphabet.

    Formula: mean over draws of log2 C(z | y) - log2 mean over y' of C(z | y').
    Source: Ullrich 6.2; the inner mean is exact, so the estimate is unbiased and no more than
    log2 of the alphabet's size. A capacity is never below it.

    Args:
        channel: of one use at a time.
        alphabet: `(symbols, numbers of a use)`; for channels with noise, of mean power 1 per use.
        draws: transmissions.
    """
    symbols = len(alphabet)
    chosen = torch.randint(symbols, (draws,), device=alphabet.device)
    received = channel.transmit(alphabet[chosen])
    densities = torch.stack(
        [channel.log_density(received, symbol.expand(draws, -1)) for symbol in alphabet]
    )
    own = densities[chosen, torch.arange(draws)]
    marginal = densities.logsumexp(0) - math.log(symbols)
    bits = (own - marginal).double() / math.log(2)
    return Estimate(float(bits.mean()), float(bits.std() / math.sqrt(draws)))


def gaussian_information_bits(channel: Channel, draws: int, numbers: int = 2) -> Estimate:
    """I(Y; Z) of Gaussian inputs in bits per use, from the densities alone, for AWGN channels.

    The marginal of z is a normal of the signal's and the noise's power together.

    Args:
        channel: without a state.
        draws: transmissions.
        numbers: of a codeword.
    """
    per_number = 1 / channel.use.numbers
    y = math.sqrt(per_number) * torch.randn(draws, numbers, dtype=torch.float64)
    received: Received = channel.transmit(y)
    variance = float(received.signal.square().mean())
    square = received.signal.square()
    marginal = -0.5 * (square / variance + math.log(2 * math.pi * variance)).sum(-1)
    nats = channel.log_density(received, y) - marginal
    bits = nats / math.log(2) / channel.uses(numbers)
    return Estimate(float(bits.mean()), float(bits.std() / math.sqrt(draws)))
