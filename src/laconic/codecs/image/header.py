"""The image codec's own header: integers and names (docs/format.md, "Image header")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from laconic.codecs.base import MAX_SETTINGS, CoderSetting, ModelId
from laconic.codecs.image.tiles import MAX_SIDE, TilePlan
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, InputError

REVISION: Final = 1
QUALITY_STEPS: Final = 1000
TASTE_STEPS: Final = 1 << 13
"""Steps from taste 0, squared error, to taste 1, MS-SSIM."""
TUNES: Final[Mapping[str, int]] = {
    "psnr": 0,
    "balanced": TASTE_STEPS // 2,
    "ms-ssim": TASTE_STEPS,
}
"""Tastes that have a name, in steps."""
DEFAULT_TUNE: Final = "balanced"
MAX_LEVELS: Final = 64
COLOURS: Final = 3


@dataclass(frozen=True)
class LevelCost:
    """What one level of the ladder cost, all tiles together.

    Attributes:
        ideal_bits: KL(posterior || prior) that the encoder paid for, rounded.
        theory_bits: the coder's own expectation for it, rounded.
        part_bytes: bytes written, by part, rounded.
    """

    ideal_bits: int
    theory_bits: int
    part_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Totals:
    """What all levels cost together: a short record, some 15 bytes in place of some 70.

    Attributes:
        ideal_bits: KL(posterior || prior) that the encoder paid for, rounded.
        theory_bits: the coders' own expectation for it, rounded.
        level_bytes: bytes of each level but the last one of its layer, rounded, top first.
    """

    ideal_bits: int
    theory_bits: int
    level_bytes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImageHeader:
    """Everything that decoding needs besides the model, and what `info` shows.

    Attributes:
        model: the model that wrote the file.
        plan: size of the image and its tiles.
        colour: 0 RGB, 1 grey, 2 bilevel.
        alpha: whether a section holds the alpha plane.
        profile: whether a section holds an ICC profile.
        reduced: whether the input had 16 bits a sample.
        quality_step: 0 to 1000, position of log beta between its largest and its smallest value.
        seed: of the shared randomness.
        coders: one per level, top first.
        costs: one per level, top first; or what they are together.
        metadata: whether a section holds EXIF data, XMP data or dots per inch.
        taste: second coordinate of the operating point, 0 to `TASTE_STEPS`; None for a model
            without taste.
        layers: levels of each layer, top first; a tile has one section of latents for each layer.
            Empty: one layer with all levels.
    """

    model: ModelId
    plan: TilePlan
    colour: int
    alpha: bool
    profile: bool
    reduced: bool
    quality_step: int
    seed: int
    coders: tuple[CoderSetting, ...]
    costs: tuple[LevelCost, ...] | Totals
    metadata: bool = False
    taste: int | None = None
    layers: tuple[int, ...] = ()

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Levels of each layer, at least one layer."""
        return self.layers or (len(self.coders),)

    @property
    def ideal_bits(self) -> int:
        """KL that the encoder paid for, all levels."""
        if isinstance(self.costs, Totals):
            return self.costs.ideal_bits
        return sum(cost.ideal_bits for cost in self.costs)

    @property
    def theory_bits(self) -> int:
        """The coders' own expectation for it, all levels."""
        if isinstance(self.costs, Totals):
            return self.costs.theory_bits
        return sum(cost.theory_bits for cost in self.costs)

    def write(self) -> bytes:
        """The header's bytes, the same for equal headers.

        Raises:
            InputError: the model or a coder has more than a reader accepts.
        """
        if len(self.coders) > MAX_LEVELS:
            raise InputError(
                f"a model of {len(self.coders)} levels is too large: a file holds {MAX_LEVELS}"
            )
        writer, plan = FieldWriter(), self.plan
        tiled = plan.count > 1
        writer.integer(REVISION)
        self.model.write(writer)
        writer.integer(plan.width)
        writer.integer(plan.height)
        writer.integer(self.colour)
        flags = self.alpha, self.profile, self.reduced, tiled, self.metadata
        is_short = isinstance(self.costs, Totals)
        writer.flags(*flags, self.taste is not None, bool(self.layers), is_short)
        if tiled:
            for value in (plan.tile_width, plan.tile_height, plan.overlap):
                writer.integer(value)
        writer.integer(self.quality_step)
        if self.taste is not None:
            writer.integer(self.taste)
        writer.integer(self.seed)
        writer.integer(len(self.coders))
        for size in self.layers[:-1]:  # The last layer has what is left.
            writer.integer(size)
        if self.layers:
            writer.integer(0)
        _write_coders(writer, self.coders)
        if isinstance(self.costs, Totals):
            _write_totals(writer, self.costs)
        else:
            _write_costs(writer, self.costs)
        return writer.finish()

    @classmethod
    def read(cls, data: bytes) -> "ImageHeader":
        """Read a header; raises `CorruptFileError` or `UnsupportedFileError` on anything absurd."""
        reader = FieldReader(data, "the image header")
        reader.revision(REVISION)
        model = ModelId.read(reader)
        width = reader.integer(MAX_SIDE, "the width")
        height = reader.integer(MAX_SIDE, "the height")
        colour = reader.integer(COLOURS - 1, "the kind of colour")
        alpha, profile, reduced, tiled, *rest = reader.flags(8)
        metadata, has_taste, layered, is_short = rest
        plan = TilePlan(height, width, height, width, 0) if not tiled else None
        if plan is None:
            tile = [reader.integer(MAX_SIDE, "a tile's size") for _ in range(3)]
            plan = TilePlan(height, width, tile[1], tile[0], tile[2])
        step = reader.integer(QUALITY_STEPS, "the quality")
        taste = reader.integer(TASTE_STEPS, "the taste") if has_taste else None
        seed = reader.integer(what="the seed")
        levels = reader.integer(MAX_LEVELS, "the number of levels")
        layers = _read_layers(reader, levels) if layered else ()
        coders = _read_coders(reader, levels)
        inner = levels - max(1, len(layers))
        costs = _read_totals(reader, inner) if is_short else _read_costs(reader, levels)
        reader.finish()
        about = (colour, alpha, profile, reduced, step, seed)
        return cls(model, plan, *about, coders, costs, metadata, taste, layers)


def _read_layers(reader: FieldReader, levels: int) -> tuple[int, ...]:
    """The levels of each layer, up to a zero; the last layer has what is left."""
    layers: list[int] = []
    while size := reader.integer(levels - sum(layers), "the levels of a layer"):
        layers.append(size)
    left = levels - sum(layers)
    if left == 0:
        raise CorruptFileError("the image header: a layer without levels")
    return (*layers, left)


def _write_coders(writer: FieldWriter, coders: Sequence[CoderSetting]) -> None:
    """Runs of equal coders: the number of levels, then the coder."""
    start = 0
    while start < len(coders):
        coder, stop = coders[start], start + 1
        while stop < len(coders) and coders[stop] == coder:
            stop += 1
        writer.integer(stop - start)
        coder.write(writer)
        start = stop


def _read_coders(reader: FieldReader, levels: int) -> tuple[CoderSetting, ...]:
    coders: list[CoderSetting] = []
    while len(coders) < levels:
        run = reader.integer(levels - len(coders), "a run of coders")
        if run == 0:
            raise CorruptFileError("the image header: a run of no coders")
        coders += [CoderSetting.read(reader)] * run
    return tuple(coders)


def _write_costs(writer: FieldWriter, costs: Sequence[LevelCost]) -> None:
    """The parts' names; per level ideal bits, theory minus ideal, bytes by part."""
    names = sorted({name for cost in costs for name in cost.part_bytes})
    writer.integer(len(names))
    for name in names:
        writer.word(name)
    for cost in costs:
        writer.integer(cost.ideal_bits)
        writer.signed(cost.theory_bits - cost.ideal_bits)
        for name in names:
            writer.integer(cost.part_bytes.get(name, 0))


def _read_costs(reader: FieldReader, levels: int) -> tuple[LevelCost, ...]:
    count = reader.integer(MAX_SETTINGS, "the number of parts")
    names = [reader.word("a part's name") for _ in range(count)]
    costs = []
    for _ in range(levels):
        ideal = reader.integer(what="ideal bits")
        theory = ideal + reader.signed("theory bits")
        parts = {name: reader.integer(what=name) for name in names}
        costs.append(LevelCost(ideal, theory, parts))
    return tuple(costs)


def _write_totals(writer: FieldWriter, totals: Totals) -> None:
    """Ideal bits, theory minus ideal, bytes of levels."""
    writer.integer(totals.ideal_bits)
    writer.signed(totals.theory_bits - totals.ideal_bits)
    for size in totals.level_bytes:
        writer.integer(size)


def _read_totals(reader: FieldReader, levels: int) -> Totals:
    ideal = reader.integer(what="ideal bits")
    theory = ideal + reader.signed("theory bits")
    sizes = tuple(reader.integer(what="bytes of a level") for _ in range(levels))
    return Totals(ideal, theory, sizes)
