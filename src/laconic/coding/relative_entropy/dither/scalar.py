"""The dithered coder: universal quantization, one integer per dimension."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import FloatArray, SharedRandomness
from laconic.coding.relative_entropy import standardise
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.dither import classes as dither
from laconic.coding.relative_entropy.dither import preamble
from laconic.coding.relative_entropy.dither.step_map import StepMap


@final
@dataclass(frozen=True)
class DitheredCoder(RelativeEntropyCoder):
    """Universal quantization: a shared dither makes the rounding error uniform.

    Source: Agustsson & Theis 2020, "Universally quantized neural compression", section 3; Ziv 1985.

    Sender: k = round(m / w - o), o ~ Uniform(-1/2, 1/2) shared. Receiver: u = w (k + o). Step w is
    root 12 times the scale of the dimension's tile in the map (`step_map`).

    Not exact for the normal target, but exact for Uniform(m - w/2, m + w/2), which has the target's
    mean and the encoded scale. A tile has one scale, so the noise has the target's power only on
    average over the tile; a tensor of one scale gets the nearest class, in steps of 1/8 octave by
    default.

    Code length: the mutual information of mean and draw, h(N(0, σ²) * Uniform(w)) - log2 w, σ² the
    means' variance; `Receipt.theory_bits` is its value for these means. Where the prior is the
    aggregate of the targets this is, in bits a dimension over a KL of 8, 4, 2, 1, 1/2, 1/4, 0.1,
    0.03, 0.01: 0.254, 0.254, 0.254, 0.25, 0.25, 0.23, 0.19, 0.12, 0.077: half log2(πe/6) at high
    rates, and of the order of the root of the KL at low ones, where the edges of the uniform carry
    most of the information. The integer tables cost about 0.003 more. Run time: linear, one table
    look-up per dimension.

    Attributes:
        step_bits: 2^step_bits classes of steps an octave.
        finest: smallest tile of the map of steps, a square of side 2^finest.
    """

    id: ClassVar[str] = "dithered"
    exact: ClassVar[bool] = False
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {"step_bits": (0, 4), "finest": (0, 12)}

    step_bits: int = 3
    finest: int = 0

    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write outliers, the map of steps, and the integers."""
        q = standardise.standardise(target, prior)
        head = preamble.write(stream, self._steps, q, tuple(prior.loc.shape), shared)
        begin, plan, step = stream.bits, *self._plan(head, shared)
        mean = q.mean[head.near]
        symbols = np.rint(mean / step - dither.fractions(plan.offsets)).astype(np.int64)
        dither.write_symbols(stream, symbols, plan, dither.CUBE)
        receipt = head.receipt(q, dither.CUBE, stream.bits - begin, mean)
        return standardise.restore(self._values(head, symbols, plan, step), prior), receipt

    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read outliers, the map of steps, and the integers."""
        head = preamble.read(stream, self._steps, tuple(prior.loc.shape))
        plan, step = self._plan(head, shared)
        symbols = dither.read_symbols(stream, plan, dither.CUBE)
        return standardise.restore(self._values(head, symbols, plan, step), prior)

    @property
    def _steps(self) -> StepMap:
        return StepMap(self.step_bits, self.finest)

    def _plan(
        self, head: preamble.Preamble, shared: SharedRandomness
    ) -> tuple[dither.Plan, standardise.DoubleArray]:
        offsets = shared.child(1).bits(0, head.classes.size)[head.near]
        plan = dither.Plan(head.classes[head.near], offsets, head.spreads)
        return plan, dither.SCALES[plan.classes] / np.sqrt(dither.CUBE.moment)

    def _values(
        self,
        head: preamble.Preamble,
        symbols: IntArray,
        plan: dither.Plan,
        step: standardise.DoubleArray,
    ) -> FloatArray:
        u = np.zeros(head.classes.size, np.float32)
        u[head.near] = (symbols + dither.fractions(plan.offsets)) * step
        return head.assemble(u)
