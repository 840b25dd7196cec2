"""The rotated dithered coder: universal quantization behind a random rotation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import FloatArray, SharedRandomness, UInt32Array
from laconic.coding.relative_entropy import standardise
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.dither import classes as dither
from laconic.coding.relative_entropy.dither import preamble
from laconic.coding.relative_entropy.dither.step_map import StepMap
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.compiled import compiled


@compiled()
def hadamard(blocks: DoubleArray | IntArray) -> None:
    """The Walsh-Hadamard transform of every row, in place; its square is the row's length.

    On integers it is exact; their sums wrap around at 2^63, which only damaged files reach.
    """
    for b in range(blocks.shape[0]):
        half = 1
        while half < blocks.shape[1]:
            for start in range(0, blocks.shape[1], 2 * half):
                for i in range(start, start + half):
                    x, y = blocks[b, i], blocks[b, i + half]
                    blocks[b, i], blocks[b, i + half] = x + y, x - y
            half *= 2


@dataclass(frozen=True)
class _Rotation:
    """Blocks of one class by size, and the signs of all dimensions."""

    blocks: list[IntArray]
    signs: IntArray

    def forward(self, mean: DoubleArray) -> DoubleArray:
        """Rotated means, in the places of their dimensions."""
        rotated, signed = np.zeros(mean.size), mean * self.signs
        for dims in self.blocks:
            part = signed[dims]
            hadamard(part)
            rotated[dims] = part / np.sqrt(dims.shape[1])
        return rotated

    def back(self, numbers: IntArray) -> DoubleArray:
        """Undo the rotation of integers; only the division at the end rounds."""
        values = np.zeros(numbers.size)
        for dims in self.blocks:
            part = numbers[dims]
            hadamard(part)
            values[dims] = part / np.sqrt(float(dims.shape[1]))
        return values * self.signs


@final
@dataclass(frozen=True)
class RotatedDitherCoder(RelativeEntropyCoder):
    """Universal quantization behind a random rotation.

    Source: Kobus et al. 2024, "Gaussian channel simulation with rotated dithered quantization".

    Blocks of 2^block_bits dimensions of one class of steps w are multiplied by random signs and a
    Walsh-Hadamard matrix, both orthogonal; the rotated means are dithered as in `dithered`, and the
    receiver rotates back, in 64-bit integers but for one rounding. The noise of each dimension is
    the mean of n uniforms of independent signs: of the target's power, uncorrelated, and nearly
    normal: its excess kurtosis is -1.2 / n. Dimensions that do not fill a block go to smaller ones.

    Not exact: the noise of the encoded scale approaches the normal as blocks grow. Jointly it stays
    uniform in a rotated cube, so the code length is that of `dithered`: `Receipt.theory_bits` is
    the mutual information for the rotated means, 0.254 bits a dimension over the KL at high rates.
    Run time: block_bits additions a dimension.

    Attributes:
        block_bits: blocks have 2^block_bits dimensions.
        step_bits: 2^step_bits classes of steps an octave.
        finest: smallest tile of the map of steps, a square of side 2^finest.
    """

    id: ClassVar[str] = "rotated-dither"
    exact: ClassVar[bool] = False
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {
        "block_bits": (0, 10),
        "step_bits": (0, 4),
        "finest": (0, 12),
    }

    block_bits: int = 6
    step_bits: int = 3
    finest: int = 0

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write outliers, the map of steps, and the integers."""
        q = standardise.standardise(target, prior)
        steps = StepMap(self.step_bits, self.finest)
        head = preamble.write(stream, steps, q, tuple(prior.loc.shape), shared)
        rotation, words = self._rotation(head, shared)
        begin, plan = stream.bits, dither.Plan(head.classes[head.near], words, head.spreads)
        mean = rotation.forward(q.mean)[head.near]
        step = dither.SCALES[plan.classes] / np.sqrt(dither.CUBE.moment)
        symbols = np.rint(mean / step - dither.fractions(words)).astype(np.int64)
        dither.write_symbols(stream, symbols, plan, dither.CUBE)
        receipt = head.receipt(q, dither.CUBE, stream.bits - begin, mean)
        return standardise.restore(self._values(head, rotation, symbols, words), prior), receipt

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read outliers, the map of steps, and the integers."""
        steps = StepMap(self.step_bits, self.finest)
        head = preamble.read(stream, steps, tuple(prior.loc.shape))
        rotation, words = self._rotation(head, shared)
        plan = dither.Plan(head.classes[head.near], words, head.spreads)
        symbols = dither.read_symbols(stream, plan, dither.CUBE)
        return standardise.restore(self._values(head, rotation, symbols, words), prior)

    def _rotation(
        self, head: preamble.Preamble, shared: SharedRandomness
    ) -> tuple[_Rotation, UInt32Array]:
        """The rotation, and the words of the dither of the near dimensions."""
        dims = head.classes.size
        blocks = dither.cut(
            head.classes, head.near, 1 << self.block_bits, shared.child(5).bits(0, dims)
        )
        signs = (shared.child(6).bits(0, dims) & np.uint32(1)).astype(np.int64) * 2 - 1
        return _Rotation(blocks, signs), shared.child(1).bits(0, dims)[head.near]

    def _values(
        self, head: preamble.Preamble, rotation: _Rotation, symbols: IntArray, words: UInt32Array
    ) -> FloatArray:
        numbers = np.zeros(head.classes.size, np.int64)
        numbers[head.near] = (symbols << 32) + words.astype(np.int64) - (1 << 31)
        step = dither.SCALES[head.classes] / np.sqrt(dither.CUBE.moment)
        return head.assemble((rotation.back(numbers) * 2.0**-32 * step).astype(np.float32))
