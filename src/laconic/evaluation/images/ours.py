"""Our image codec in the interface of an evaluation, and exact draws without a coder."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch.distributions import Normal

from laconic.codecs.image.codec import ImageCodec, quality_step
from laconic.codecs.image.encoder import sender_walk
from laconic.codecs.image.file import ImageFile, ImageInfo
from laconic.codecs.image.header import QUALITY_STEPS, TASTE_STEPS
from laconic.evaluation.images.results import CodeLength, LevelBits
from laconic.metrics.images import Image8
from laconic.models.base import Context, NormalLadder


@final
@dataclass(frozen=True)
class OurCodec:
    """`ImageCodec` with the interface of `laconic.evaluation.anchors.classical.Codec`.

    Attributes:
        codec: the codec with its model; a setting is its quality, 1 to 100.
        name: short name in studies.
        label: name in tables and charts.
    """

    codec: ImageCodec
    name: str = "laconic"
    label: str = "Laconic"

    @property
    def description(self) -> str:
        """The model and the coders, by name."""
        coders = "+".join(dict.fromkeys(coder.id for coder in self.codec.coders))
        return f"model {self.codec.model_id.name}, coder {coders}; setting = quality"

    def encode(self, pixels: Image8, setting: float) -> bytes:
        """The complete .lac file at one quality."""
        return self.codec.encode(pixels, quality=setting)

    def decode(self, data: bytes) -> Image8:
        """The pixels of a .lac file."""
        return self.read(data)[0]

    def read(self, data: bytes) -> tuple[Image8, CodeLength]:
        """The pixels of a .lac file and the code lengths that it records; it is opened once."""
        file = ImageFile.read(data)
        file.header.model.check(self.codec.model_id)
        image = file.render(self.codec.runtime, self.codec.progress)
        return np.array(image.convert("RGB")), code_length(file.describe())


def code_length(info: ImageInfo) -> CodeLength:
    """The three lengths of a file, level by level."""
    levels = tuple(
        LevelBits(
            None if level.ideal_bits is None else float(level.ideal_bits),
            None if level.theory_bits is None else float(level.theory_bits),
            {name: float(bits) for name, bits in (level.parts or {"all": level.bits}).items()},
        )
        for level in info.levels
    )
    return CodeLength(
        float(info.file_bits), float(info.ideal_bits), float(info.theory_bits), levels
    )


def exact_draw(
    model: NormalLadder,
    pixels: Image8,
    quality: float,
    generator: torch.Generator,
    taste: int | None = None,
) -> Image8:
    """The picture decoded from an exact draw of every posterior, without a coder.

    The difference in quality between it and the picture from a coder's draw is the coder's loss.

    Args:
        model: the ladder, in evaluation mode.
        pixels: uint8 `(height, width, 3)`, coded whole (no tiles).
        quality: 1 to 100, as for `ImageCodec.encode`.
        generator: source of the normals: torch's, which is independent of the coders' randomness.
        taste: as `ImageCodec.taste` has it.

    Returns:
        uint8 `(height, width, 3)`.
    """
    height, width, _ = pixels.shape
    context = context_of(model, height, width, quality, taste)
    below, right = context.shape[0] - height, context.shape[1] - width
    padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")
    x = torch.from_numpy(padded).float().permute(2, 0, 1)[None] / 255

    def draw(level: int, prior: Normal, posterior: Normal) -> torch.Tensor:
        noise = torch.randn(posterior.loc.shape, generator=generator)
        return (posterior.loc + posterior.scale * noise).double()

    with torch.inference_mode():
        features = model.encode(x, context)
        above = sender_walk(model, model.exact_prior(), features, context, draw)
        shown = model.likelihood(above, context).mean
    values = shown[0, :, :height, :width].permute(1, 2, 0).float().numpy()
    return np.asarray(np.round(values.clip(0, 1) * 255), dtype=np.uint8)


def context_of(
    model: NormalLadder, height: int, width: int, quality: float, taste: int | None = None
) -> Context:
    """The context in which `ImageCodec` codes a picture of this size at this quality."""
    share = 0.5 if taste is None else taste / TASTE_STEPS
    return model.context((height, width), quality_step(quality), QUALITY_STEPS, taste=share)
