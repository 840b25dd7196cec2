"""Sizes of the sliced ladder."""

from dataclasses import dataclass

from laconic.errors import ConfigError


@dataclass(frozen=True)
class SlicedConfig:
    """Sizes of a sliced ladder.

    Attributes:
        block: side of the linear transform's blocks in pixels.
        slices: coefficients in each slice; their sum is the number of latents per block.
        top: channels of the top latent, one value per 2x2 blocks.
        fine_width: channels at 1/8 of the image's size.
        coarse_width: channels at 1/16 of the image's size.
        prior_width: channels of the networks between the latents.
        fine_blocks: residual blocks at 1/8 size, encoder and decoder.
        coarse_blocks: residual blocks at 1/16 size, encoder and decoder.
        embedding: channels of the embedding of log beta.
        beta_range: smallest and largest beta served.
        taste: whether the operating point has a second coordinate, from squared error (0) to
            MS-SSIM (1).
        passes: of each slice, 1 or 2; in two passes the even places of a checkerboard come first,
            a level of their own, and the odd ones' prior depends on them. Empty: one pass each.
        refiner_width: channels of the second network of each slice's prior; 0 for none.
        refiner_blocks: gated blocks of each.
        encoder_widths: channels of the encoder's second branch at 1/4, 1/8 and 1/16 of the size.
            Empty: no branch.
        encoder_blocks: its gated blocks.
        decoder_widths: the same of the decoder at 1/16, 1/8 and 1/4.
        decoder_blocks: its gated blocks.
        kernel: side of the gated blocks' depthwise kernels at 1/8 and 1/16.
    """

    block: int = 16
    slices: tuple[int, ...] = (16, 48, 96, 140)
    top: int = 32
    fine_width: int = 128
    coarse_width: int = 128
    prior_width: int = 128
    fine_blocks: tuple[int, int] = (2, 3)
    coarse_blocks: tuple[int, int] = (2, 2)
    embedding: int = 32
    beta_range: tuple[float, float] = (2e-4, 2.56e-2)
    taste: bool = False
    passes: tuple[int, ...] = ()
    refiner_width: int = 0
    refiner_blocks: int = 2
    encoder_widths: tuple[int, ...] = ()
    encoder_blocks: tuple[int, ...] = (2, 4, 4)
    decoder_widths: tuple[int, ...] = ()
    decoder_blocks: tuple[int, ...] = (3, 3, 1)
    kernel: int = 5

    def __post_init__(self) -> None:
        passes = self.slice_passes
        if len(passes) != len(self.slices) or not set(passes) <= {1, 2}:
            raise ConfigError(f"model.passes: give 1 or 2 for each of {len(self.slices)} slices")
        if max(passes) > 1 and not self.refiner_width:
            raise ConfigError("model.refiner_width: a second pass needs a refiner to see the first")
        for name in ("encoder", "decoder"):
            widths, blocks = getattr(self, f"{name}_widths"), getattr(self, f"{name}_blocks")
            if widths and not len(widths) == len(blocks) == 3:
                raise ConfigError(f"model.{name}_widths, model.{name}_blocks: give three of each")

    @property
    def latents(self) -> int:
        """Coefficients per block."""
        return sum(self.slices)

    @property
    def slice_passes(self) -> tuple[int, ...]:
        """Passes of each slice."""
        return self.passes or (1,) * len(self.slices)

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Slice and pass of every level below the top, both from 0."""
        return [(k, p) for k, count in enumerate(self.slice_passes) for p in range(count)]
