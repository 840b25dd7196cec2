"""The sliced ladder with uniform noise instead of Gaussian posteriors, and its two codecs.

Every level has data y = l + g (d - l), d what the encoder says before the prior enters and g its
scale, here the gain by which it can silence a coefficient; and a prior N(l, S) of y.
Sent is o = y + w U, U uniform on (-1/2, 1/2) and w = root 12, so that the noise has unit variance
like the encoder's of the Gaussian ladder. The receiver shrinks towards the prior,
z = l + S/(S + 1) (o - l), as the Gaussian ladder's posterior does. Rate: -log2 of the mass of
N(l, S) in the cell,
Φ((o - l + w/2)/√S) - Φ((o - l - w/2)/√S).

- dithered: the receiver knows U, the sender encodes k = round(y/w - U) (Agustsson & Theis 2020);
- rounded: U = 0, at coding time alone (Balle et al. 2018); decoded to the cell's mean instead.

Both choose their frequency tables by the receiver's floats: real bytes, decoded here, but not
portable.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.dither import classes as dither
from laconic.container import Section, pack, unpack
from laconic.distributions.divergence import density
from laconic.evaluation.images.ours import context_of
from laconic.evaluation.images.results import CodeLength
from laconic.metrics.images import Image8
from laconic.models.base import Context
from laconic.models.sliced.ladder import SlicedLadder
from laconic.training.objectives.base import Objective, Parts, Terms, assemble

WIDTH = math.sqrt(12.0)
SILENT_SCALE = 1 / 8
"""Where the prior is narrower than this the integer is 0 and is not sent."""


@dataclass(frozen=True)
class UniformRung:
    """One level: its rate, shape `(batch, channels, height, width)` in nats, and the draw."""

    rate_nats: Tensor
    latent: Tensor


def data_of(model: SlicedLadder, features: Sequence[Tensor], level: int, prior: Normal) -> Tensor:
    """What the sender has to say of a level."""
    if level == 0:
        return features[2].chunk(2, dim=1)[0]
    start = sum(model.config.slices[: level - 1])
    part = slice(start, start + model.config.slices[level - 1])
    return prior.loc + features[1][:, part] * (features[0][:, part] - prior.loc)


def shrink(noisy: Tensor, prior: Normal) -> Tensor:
    """The mean of y given o, were the noise Gaussian."""
    variance = prior.scale.square()
    return prior.loc + variance / (variance + 1) * (noisy - prior.loc)


def centroid(middle: Tensor, prior: Normal) -> Tensor:
    """The mean of y in the cell of width w about `middle`: what rounding should decode to.

    Formula: with a, b the cell's ends in prior scales, l + √S (φ(a) - φ(b)) / (Φ(b) - Φ(a)).
    """
    scale = prior.scale.double()
    centre = (middle - prior.loc).double() / scale
    side, centre = torch.sign(centre), centre.abs()
    a, b = centre - WIDTH / 2 / scale, centre + WIDTH / 2 / scale
    mass = torch.special.ndtr(-a) - torch.special.ndtr(-b)
    slope = (torch.exp(-(a**2) / 2) - torch.exp(-(b**2) / 2)) / math.sqrt(2 * math.pi)
    # Far out the mass underflows: it lies at the inner edge.
    mean = torch.where(mass > 1e-200, slope / mass.clamp_min(1e-200), a)
    return (prior.loc + prior.scale * side * mean).to(middle.dtype)


def draw_rungs(model: SlicedLadder, x: Tensor, context: Context) -> list[UniformRung]:
    """Draw every level once, top first."""
    features = model.encode(x, context)
    rungs: list[UniformRung] = []
    above: list[Tensor] = []
    for level in range(model.levels):
        prior = model.prior(level, above, context)
        y = data_of(model, features, level, prior).float()
        noisy = y + WIDTH * (torch.rand_like(y) - 0.5)
        distance, scale = (noisy - prior.loc).abs().float(), prior.scale.float()
        near = torch.special.ndtr((WIDTH / 2 - distance) / scale)
        far = torch.special.ndtr((-WIDTH / 2 - distance) / scale)
        rate = -torch.log((near - far).clamp_min(1e-9))
        above.append(shrink(noisy, prior))
        rungs.append(UniformRung(rate, above[-1]))
    return rungs


@final
class UniformElbo(Objective):
    """Rate + squared error / (2 beta): `laconic.training.objectives.elbo.Elbo` up to constants."""

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Any],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms; `rungs` are `UniformRung`s."""
        rates = [rung.rate_nats.flatten(1).sum(1) for rung in rungs]
        parts = Parts(-density(likelihood, x), rates)
        return assemble(parts, parts.distortion + warmup * parts.rate)


@final
@dataclass(frozen=True)
class UniformCodec:
    """Real bytes from the uniform ladder.

    Attributes:
        model: trained with `draw_rungs`.
        dithered: shared dither, or none.
    """

    model: SlicedLadder
    dithered: bool

    @property
    def name(self) -> str:
        """Short name in studies."""
        return "dithered" if self.dithered else "rounded"

    @property
    def label(self) -> str:
        """For people."""
        return "Dithered uniform" if self.dithered else "Rounding"

    @property
    def description(self) -> str:
        """What it is."""
        return f"uniform ladder, {self.name}, tables chosen by floats; setting = quality"

    def read(self, data: bytes) -> tuple[Image8, CodeLength | None]:
        """The pixels; bits by part are not recorded."""
        return self.decode(data), None

    @torch.inference_mode()
    def encode(self, pixels: Image8, setting: float) -> bytes:
        """One file; picture sides must be multiples of the model's stride."""
        height, width, _ = pixels.shape
        context = context_of(self.model, height, width, setting)
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        features, stream = self.model.encode(x, context), QueueEncoder()
        above: list[Tensor] = []
        for level in range(self.model.levels):
            prior = self.model.prior(level, above, context)
            sent, plan, offset = self._plan(prior, level)
            y = data_of(self.model, features, level, prior) - prior.loc
            k = np.rint(y.numpy().ravel().astype(np.float64) / WIDTH - offset).astype(np.int64)
            k[~sent] = 0
            dither.write_symbols(stream, k[sent], plan, dither.CUBE)
            above.append(self._draw(k, offset, sent, prior))
        header = np.array([height, width], "<u2").tobytes() + np.float32(setting).tobytes()
        return pack(self.name, header, [Section("latents", stream.finish())])

    @torch.inference_mode()
    def decode(self, data: bytes) -> Image8:
        """The picture."""
        container = unpack(data)
        height, width = np.frombuffer(container.header[:4], "<u2").tolist()
        setting = float(np.frombuffer(container.header[4:8], "<f4")[0])
        context = context_of(self.model, height, width, setting)
        stream = QueueDecoder(container.named("latents")[0])
        above: list[Tensor] = []
        for level in range(self.model.levels):
            prior = self.model.prior(level, above, context)
            sent, plan, offset = self._plan(prior, level)
            k = np.zeros(sent.size, np.int64)
            k[sent] = dither.read_symbols(stream, plan, dither.CUBE)
            above.append(self._draw(k, offset, sent, prior))
        shown = self.model.likelihood(above, context).mean[0].permute(1, 2, 0).numpy()
        return np.asarray(np.round(shown.clip(0, 1) * 255), dtype=np.uint8)

    def _plan(
        self, prior: Normal, level: int
    ) -> tuple[np.ndarray, dither.Plan, np.ndarray | float]:
        """Which dimensions are sent, under which tables, and all dimensions' offsets.

        A dimension of variance S + 1, noise included, has noise of the scale 1 / √(S + 1).
        """
        scale = prior.scale.numpy().ravel().astype(np.float64)
        sent = scale >= SILENT_SCALE
        classes = np.rint(dither.STEPS * (1 + 0.5 * np.log2(scale**2 + 1))).astype(np.int64)
        classes = np.clip(classes, 0, dither.CLASSES - 1)
        words = np.full(scale.size, 1 << 31, np.uint32)
        if self.dithered:
            words = SharedRandomness(0).child(level).bits(0, scale.size)
        usual = np.full(dither.CLASSES, dither.USUAL_SPREAD, np.int64)
        plan = dither.Plan(classes[sent], words[sent], usual)
        return sent, plan, dither.fractions(words) if self.dithered else 0.0

    def _draw(
        self, k: np.ndarray, offset: np.ndarray | float, sent: np.ndarray, prior: Normal
    ) -> Tensor:
        noisy = np.where(sent, (k + offset) * WIDTH, 0.0)
        u = torch.from_numpy(noisy).float().reshape(prior.loc.shape)
        return (shrink if self.dithered else centroid)(prior.loc + u, prior)
