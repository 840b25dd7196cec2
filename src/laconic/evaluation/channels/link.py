"""A digital link: 5G LDPC codes and QAM over any channel of complex uses, through Sionna.

```
 bytes ─ blocks, each with a CRC-32 ─ LDPC (k, n) ─ QAM ─► complex uses ═ channel ═► log-likelihood
 ratios ─ belief propagation ─ CRC ─► bytes, or a block that is known to be lost
```

Conventions that are easily mixed up, and hold here: power and noise are per COMPLEX use (Sionna's
`no` is 1 / s); log-likelihood ratios are log p(1) / p(0), Sionna's sign; k counts information bits
with the checksum's. The code has at most 8448 information bits (5G base graph 1).
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.channels.base import Channel, Use
from laconic.channels.gate import Budget
from laconic.channels.gaussian import NoisyChannel
from laconic.coding.random import SharedRandomness
from laconic.errors import ConfigError, MissingPackageError

MOST_INFORMATION_BITS: Final = 8448
"""Of one block.  Source: 3GPP TS 38.212, base graph 1."""
MOST_AT_LOW_RATES: Final = 3824
"""The same at rates up to 1/3, which only base graph 2 has."""
LOW_RATE: Final = (1, 3)
LEAST_INFORMATION_BITS: Final = 64
"""Of one block here: half of it is the checksum."""
CRC_BITS: Final = 32
ITERATIONS: Final = 20
"""Most iterations of belief propagation."""
ITERATIONS_AT_ONCE: Final = 4
"""Blocks whose checksums are right after so many take no further ones."""
SCRAMBLING: Final = 0x5CA4B
"""Seed of the fixed bits that are added to all blocks, so that all symbols are used alike."""
BLOCKS_AT_ONCE: Final = 16

Bits = NDArray[np.uint8]
"""Zeros and ones, one a byte."""


@dataclass(frozen=True)
class Modulation:
    """A code rate and a constellation.

    Attributes:
        bits_per_symbol: 2, 4 or 6: 4-, 16- or 64-QAM.
        rate: information bits over code bits, as a fraction's numerator and denominator.
    """

    bits_per_symbol: int
    rate: tuple[int, int]

    @property
    def bits_per_use(self) -> float:
        """Information bits per complex use, checksums included."""
        return self.bits_per_symbol * self.rate[0] / self.rate[1]

    @property
    def name(self) -> str:
        """For tables, e.g. "16-QAM 1/2"."""
        return f"{2**self.bits_per_symbol}-QAM {self.rate[0]}/{self.rate[1]}"


MODULATIONS: Final = tuple(
    Modulation(symbol, rate)
    for symbol, rate in product((2, 4, 6), ((1, 5), (1, 3), (1, 2), (2, 3), (5, 6)))
    if (symbol == 2 or rate != (1, 5))
)
"""All that are tried, from 0.4 to 5 bits per complex use."""


@dataclass(frozen=True)
class Block:
    """Sizes of the blocks of a link; all are equal.

    Attributes:
        count: of blocks.
        information_bits: k, checksum included.
        code_bits: n.
    """

    count: int
    information_bits: int
    code_bits: int

    @property
    def payload_bits(self) -> int:
        """Bits of the user in all blocks."""
        return self.count * (self.information_bits - CRC_BITS)


def plan_blocks(modulation: Modulation, uses: int) -> Block:
    """The largest equal blocks that fit into so many complex uses.

    Raises:
        ConfigError: not even one small block fits.
    """
    above, below = modulation.rate
    symbol = modulation.bits_per_symbol
    is_low = above * LOW_RATE[1] <= below * LOW_RATE[0]
    most = MOST_AT_LOW_RATES if is_low else MOST_INFORMATION_BITS
    count = max(1, -(-uses * symbol * above // (below * most)))
    code = uses // count // below * below * symbol  # The rate is exact: no code is below 1/5.
    information = min(code * above // below, most)
    if information < LEAST_INFORMATION_BITS:
        raise ConfigError(
            f"{uses} channel uses are too few for a block of {modulation.name}: it has "
            f"{information} information bits, {LEAST_INFORMATION_BITS} are needed; "
            "raise the bandwidth"
        )
    return Block(count, information, code)


@dataclass(frozen=True)
class Arrived:
    """What the receiver has of a message.

    Attributes:
        data: the bytes; those of lost blocks are zero.
        good: of every block, whether its checksum is right.
        block_bytes: of the message in each block.
        delivered_bits: of the payload in blocks that arrived.
    """

    data: bytes
    good: tuple[bool, ...]
    block_bytes: int
    delivered_bits: int

    @property
    def is_whole(self) -> bool:
        """Whether every block arrived."""
        return all(self.good)

    @property
    def prefix(self) -> bytes:
        """The bytes before the first lost block."""
        lost = self.good.index(False) if not self.is_whole else len(self.good)
        return self.data[: lost * self.block_bytes]


class Link:
    """Sends bytes over complex uses of a channel.

    Args:
        modulation: code rate and constellation.
        uses: complex channel uses for one message.
        design: the channel that the link is made for; the capacity gate is that of it.

    Raises:
        UnreachableTargetError: the link would carry more than the design channel can.
        ConfigError: a channel without complex uses, or too few of them.
        MissingPackageError: Sionna is not installed.
    """

    def __init__(self, modulation: Modulation, uses: int, design: Channel) -> None:
        self.modulation, self.uses = modulation, uses
        self.block = plan_blocks(modulation, uses)
        _check_complex(design)
        Budget.of(design, uses).check(self.payload_bytes * 8, f"{modulation.name} + LDPC")
        load_sionna()

    @property
    def block_bytes(self) -> int:
        """Bytes of a message in each block."""
        return (self.block.information_bits - CRC_BITS) // 8

    @property
    def payload_bytes(self) -> int:
        """Most bytes of a message."""
        return self.block.count * self.block_bytes

    def send(self, data: bytes, channel: NoisyChannel) -> Arrived:
        """Send a message of at most `payload_bytes`, padded by zeros.

        Args:
            data: the message.
            channel: what is really there; AWGN or fading, of complex uses. Draws come from torch.

        Raises:
            ConfigError: the message is too long.
            UnreachableTargetError: more arrived than the channel can carry; nothing true does so.
        """
        if len(data) > self.payload_bytes:
            raise ConfigError(f"{len(data)} bytes do not fit into {self.payload_bytes}")
        _check_complex(channel)
        size = self.block_bytes
        padded = data.ljust(self.payload_bytes, b"\0")
        pieces = [padded[start : start + size] for start in range(0, len(padded), size)]
        found, good = [], []
        for received in self._transmit(pieces, channel):
            right = self._is_right(received)
            good.append(right)
            found.append(self._unscrambled(received)[:size] if right else bytes(size))
        delivered = 8 * size * sum(good)
        if len(good) > 1 or not all(good):
            Budget.of(channel, self.uses).check(delivered, f"{self.modulation.name} + LDPC")
        return Arrived(b"".join(found)[: len(data)], tuple(good), size, delivered)

    def _transmit(self, pieces: Sequence[bytes], channel: NoisyChannel) -> Iterator[Bits]:
        """Information bits of blocks as they arrive."""
        code = make_code(self.modulation, self.block)
        for first in range(0, len(pieces), BLOCKS_AT_ONCE):
            some = pieces[first : first + BLOCKS_AT_ONCE]
            bits = torch.from_numpy(np.stack([self._scrambled(piece) for piece in some]))
            yield from code.pass_through(bits.float(), channel, self._is_right)

    def _scrambled(self, piece: bytes) -> Bits:
        """The information bits of a piece: piece, checksum, zeros, all with fixed bits added."""
        whole = piece + zlib.crc32(piece).to_bytes(4, "big")
        bits = np.unpackbits(np.frombuffer(whole, np.uint8))
        padded = np.pad(bits, (0, self.block.information_bits - len(bits)))
        return padded ^ fixed_bits(self.block.information_bits)

    def _unscrambled(self, bits: Bits) -> bytes:
        """Piece and checksum."""
        plain = np.packbits(bits ^ fixed_bits(self.block.information_bits)).tobytes()
        return plain[: self.block_bytes + CRC_BITS // 8]

    def _is_right(self, bits: Bits) -> bool:
        """Whether the checksum of received information bits is that of their piece."""
        whole = self._unscrambled(bits)
        return zlib.crc32(whole[: self.block_bytes]).to_bytes(4, "big") == whole[self.block_bytes :]


@lru_cache(maxsize=8)
def fixed_bits(count: int) -> Bits:
    """The same pseudo-random bits on every machine; not to be changed in place."""
    words = SharedRandomness(SCRAMBLING).bits(0, -(-count // 32))
    return np.unpackbits(words.astype("<u4").view(np.uint8))[:count]


class Code:
    """Sionna's encoder, mapper, demapper and decoder of one size.

    Args:
        modulation: code rate and constellation.
        block: its sizes.
    """

    def __init__(self, modulation: Modulation, block: Block) -> None:
        ldpc, mapping = load_sionna()
        symbol = modulation.bits_per_symbol
        self.encoder = ldpc.LDPC5GEncoder(
            block.information_bits, block.code_bits, num_bits_per_symbol=symbol, device="cpu"
        )
        self.decoder = ldpc.LDPC5GDecoder(
            self.encoder, num_iter=ITERATIONS_AT_ONCE, return_state=True, device="cpu"
        )
        self.mapper = mapping.Mapper("qam", symbol, device="cpu")
        self.demapper = mapping.Demapper("app", "qam", symbol, device="cpu")

    @torch.no_grad()
    def pass_through(
        self, bits: Tensor, channel: NoisyChannel, is_right: Callable[[Bits], bool]
    ) -> Bits:
        """Information bits `(blocks, k)` -> those that the receiver decides for."""
        symbols = self.mapper(self.encoder(bits))
        pairs = torch.view_as_real(symbols).flatten(1).contiguous()
        received = channel.transmit(pairs)
        noise = torch.full(symbols.shape, channel.noise_power_per_use)
        signal = torch.view_as_complex(received.signal.reshape(*symbols.shape, 2).contiguous())
        if received.state is not None:  # |h| y + w: divided by |h|, the noise is that over |h|^2.
            gain = received.state.reshape(*symbols.shape, 2)[..., 0].clamp_min(1e-6)
            signal, noise = signal / gain, noise / gain.square()
        return self._decide(self.demapper(signal, noise), is_right)

    def _decide(self, ratios: Tensor, is_right: Callable[[Bits], bool]) -> Bits:
        """Belief propagation of blocks until their checksums are right, or long enough."""
        decided = np.zeros((len(ratios), self.encoder.k), np.uint8)
        left, messages = np.arange(len(ratios)), None
        for _ in range(ITERATIONS // ITERATIONS_AT_ONCE):
            found, messages = self.decoder(ratios, msg_v2c=messages)
            decided[left] = found.to(torch.uint8).numpy()
            wrong = [index for index, block in enumerate(left) if not is_right(decided[block])]
            if not wrong:
                break
            left, ratios, messages = left[wrong], ratios[wrong], messages[wrong]
        return decided


@lru_cache(maxsize=8)
def make_code(modulation: Modulation, block: Block) -> Code:
    """A code, kept for the next message of the same size."""
    return Code(modulation, block)


def load_sionna() -> tuple[Any, Any]:
    """Sionna's modules of LDPC codes and of mappings.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        from sionna.phy import mapping
        from sionna.phy.fec import ldpc
    except ImportError as error:
        raise MissingPackageError(
            "the digital baseline (5G LDPC codes and QAM) needs", "sionna-no-rt", "channels"
        ) from error
    return ldpc, mapping


def _check_complex(channel: Channel) -> None:
    if channel.use is not Use.COMPLEX:
        raise ConfigError(
            f"the digital link needs a channel of complex uses, such as 'awgn', not one whose use "
            f"is a {channel.use.value}"
        )
