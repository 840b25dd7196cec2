"""The image codec's own header: integers and names (docs/format.md, "Image header")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from laconic.codecs.image.tiles import MAX_SIDE, TilePlan
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError

CODEC: Final = "image"
REVISION: Final = 1
FINGERPRINT_BYTES: Final = 8
QUALITY_STEPS: Final = 1000
MAX_LEVELS: Final = 64
MAX_SETTINGS: Final = 32
FLAG_ALPHA: Final = 1
FLAG_PROFILE: Final = 2
FLAG_REDUCED: Final = 4
FLAG_TILED: Final = 8
FLAG_METADATA: Final = 16
FLAGS: Final = 31
COLOURS: Final = 3


@dataclass(frozen=True)
class CoderSetting:
    """A relative entropy coder by its permanent name, with its integer parameters."""

    id: str
    config: Mapping[str, int]


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
class ImageHeader:
    """Everything that decoding needs besides the model, and the facts for `info`.

    Attributes:
        model: name of the model that wrote the file.
        fingerprint: 8 bytes that identify its weights.
        plan: size of the image and its tiles.
        colour: 0 RGB, 1 grey, 2 bilevel.
        alpha: whether a section holds the alpha plane.
        profile: whether a section holds an ICC profile.
        reduced: whether the input had 16 bits a sample.
        quality_step: 0 to 1000, position of log beta between its largest and its smallest value.
        seed: of the shared randomness.
        coders: one per level, top first.
        costs: one per level, top first.
        metadata: whether a section holds EXIF data, XMP data or dots per inch.
    """

    model: str
    fingerprint: bytes
    plan: TilePlan
    colour: int
    alpha: bool
    profile: bool
    reduced: bool
    quality_step: int
    seed: int
    coders: tuple[CoderSetting, ...]
    costs: tuple[LevelCost, ...]
    metadata: bool = False

    def write(self) -> bytes:
        """The header's bytes, the same for equal headers.

        Raises:
            InputError: the model or a coder has more than a reader accepts.
        """
        most = max((len(coder.config) for coder in self.coders), default=0)
        if len(self.coders) > MAX_LEVELS or most > MAX_SETTINGS:
            raise InputError(
                f"a model of {len(self.coders)} levels with coders of up to {most} parameters is "
                f"too large: a file holds {MAX_LEVELS} levels and {MAX_SETTINGS} parameters each"
            )
        writer, plan = FieldWriter(), self.plan
        tiled = plan.count > 1
        writer.integer(REVISION)
        writer.word(self.model)
        writer.raw(self.fingerprint)
        writer.integer(plan.width)
        writer.integer(plan.height)
        writer.integer(self.colour)
        flags = (self.alpha, self.profile, self.reduced, tiled, self.metadata)
        writer.integer(sum(1 << k for k, flag in enumerate(flags) if flag))
        if tiled:
            for value in (plan.tile_width, plan.tile_height, plan.overlap):
                writer.integer(value)
        writer.integer(self.quality_step)
        writer.integer(self.seed)
        writer.integer(len(self.coders))
        _write_coders(writer, self.coders)
        _write_costs(writer, self.costs)
        return writer.finish()

    @classmethod
    def read(cls, data: bytes) -> "ImageHeader":
        """Read a header; raises `CorruptFileError` or `UnsupportedFileError` on anything absurd."""
        reader = FieldReader(data, "the image header")
        revision = reader.integer(what="the revision")
        if revision != REVISION:
            raise UnsupportedFileError(
                f"the image header has revision {revision}, not {REVISION}; update laconic"
            )
        model = reader.word("the model's name")
        fingerprint = reader.raw(FINGERPRINT_BYTES)
        width = reader.integer(MAX_SIDE, "the width")
        height = reader.integer(MAX_SIDE, "the height")
        colour = reader.integer(COLOURS - 1, "the kind of colour")
        flags = reader.integer(what="the flags")
        if flags > FLAGS:
            raise UnsupportedFileError(
                f"the image header has unknown flags {flags}; update laconic"
            )
        plan = TilePlan(height, width, height, width, 0) if not flags & FLAG_TILED else None
        if plan is None:
            tile = [reader.integer(MAX_SIDE, "a tile's size") for _ in range(3)]
            plan = TilePlan(height, width, tile[1], tile[0], tile[2])
        step = reader.integer(QUALITY_STEPS, "the quality")
        seed = reader.integer(what="the seed")
        levels = reader.integer(MAX_LEVELS, "the number of levels")
        coders = _read_coders(reader, levels)
        costs = _read_costs(reader, levels)
        reader.finish()
        alpha, profile, reduced = (bool(flags & bit) for bit in (1, 2, 4))
        return cls(
            *(model, fingerprint, plan, colour, alpha, profile, reduced, step, seed, coders, costs),
            metadata=bool(flags & FLAG_METADATA),
        )


def _write_coders(writer: FieldWriter, coders: Sequence[CoderSetting]) -> None:
    """Runs of equal coders: levels, name, number of parameters, (name, value) in order."""
    start = 0
    while start < len(coders):
        coder, stop = coders[start], start + 1
        while stop < len(coders) and coders[stop] == coder:
            stop += 1
        writer.integer(stop - start)
        writer.word(coder.id)
        writer.integer(len(coder.config))
        for key in sorted(coder.config):
            writer.word(key)
            writer.integer(coder.config[key])
        start = stop


def _read_coders(reader: FieldReader, levels: int) -> tuple[CoderSetting, ...]:
    coders: list[CoderSetting] = []
    while len(coders) < levels:
        run = reader.integer(levels - len(coders), "a run of coders")
        if run == 0:
            raise CorruptFileError("the image header: a run of no coders")
        name = reader.word("a coder's name")
        config = {}
        for _ in range(reader.integer(MAX_SETTINGS, "the number of a coder's parameters")):
            key = reader.word("a coder's parameter")
            config[key] = reader.integer(what=key)
        coders += [CoderSetting(name, config)] * run
    return tuple(coders)


def _write_costs(writer: FieldWriter, costs: Sequence[LevelCost]) -> None:
    """The parts' names; per level ideal bits, theory minus ideal (zigzag), bytes by part."""
    names = sorted({name for cost in costs for name in cost.part_bytes})
    writer.integer(len(names))
    for name in names:
        writer.word(name)
    for cost in costs:
        writer.integer(cost.ideal_bits)
        excess = cost.theory_bits - cost.ideal_bits
        writer.integer(2 * excess if excess >= 0 else -2 * excess - 1)
        for name in names:
            writer.integer(cost.part_bytes.get(name, 0))


def _read_costs(reader: FieldReader, levels: int) -> tuple[LevelCost, ...]:
    count = reader.integer(MAX_SETTINGS, "the number of parts")
    names = [reader.word("a part's name") for _ in range(count)]
    costs = []
    for _ in range(levels):
        ideal = reader.integer(what="ideal bits")
        zigzag = reader.integer(what="theory bits")
        theory = ideal + (zigzag >> 1 if zigzag % 2 == 0 else -((zigzag + 1) >> 1))
        parts = {name: reader.integer(what=name) for name in names}
        costs.append(LevelCost(ideal, theory, parts))
    return tuple(costs)
