"""Lossless pictures and archives (docs/format.md, "Lossless")."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from unicodedata import category

import numpy as np

from .arithmetic import ONE, expected_rates
from .coders import decode_message
from .coding import Range, Shared
from .container import ELSEWHERE, MAX_PIXELS, Array, Fields, Lac, LacError, inflate, need
from .contexts import decode_contexts
from .converted import decode_converted
from .deep import DeepImage, decode_deep_png, png_file
from .draws import Coder
from .image import Extras, Models, check_size, read_alpha, read_metadata
from .pixels import Known, Shape
from .predicted import decode_levels, decode_predicted
from .squares import decode_squares
from .stack import Stack, bin_centres, pop_bins, push_bins

START_CODER = Coder("trellis", {"state_bits": 15})
BITS = (8, 8, 1, 16, 8, 16)
"""Of a sample, by kind."""
COLOURS = (3, 1, 1, 1, 1, 3)
TYPES = {1: np.bool_, 8: np.uint8, 16: np.uint16}


class Chain(NamedTuple):
    """Tiles of a chain, how many of the last borrow no bits, and bytes."""

    items: int
    alone: int
    size: int


class Group(NamedTuple):
    """Bytes of the start, and chains."""

    start: int
    chains: list[Chain]


class Bundle(NamedTuple):
    """Pictures of one size and kind."""

    pictures: int
    kind: int
    alpha: bool
    height: int
    width: int
    tiles: list[int]
    orientation: int
    profile: int
    method: int
    sizes: list[int]
    groups: list[Group]
    run: int
    checks: list[int]

    @property
    def bytes(self) -> int:
        """Bytes of the data."""
        groups = sum(g.start + sum(c.size for c in g.chains) for g in self.groups)
        return sum(self.sizes) + groups

    def shape(self, height: int, width: int) -> Shape:
        """Of a tile of this size."""
        return Shape(height, width, COLOURS[self.kind], BITS[self.kind])


def is_deep(kind: int, alpha: bool) -> bool:
    """Whether pictures of a kind have no mode of Pillow: 16 bits, several channels."""
    return BITS[kind] == 16 and (alpha or COLOURS[kind] > 1)


def read_bundle(fields: Fields, archive: bool, limit: int, most: int) -> Bundle:
    """The fields of a bundle."""
    pictures = fields.integer(limit, 1) if archive else 1
    code = fields.integer()
    kind, alpha, method = code & 7, bool(code & 8), 0
    need(kind < 6 and code < 256, "pictures of a newer kind: use a newer decoder")
    need(code & 128 or not is_deep(kind, alpha), "a model codes no colour of 16 bits")
    height, width = fields.integers(2)
    check_size(height, width, min(most, MAX_PIXELS))
    tiles = fields.integers(2, 65536) if code & 64 else [1, 1]
    need(1 <= tiles[0] <= height and 1 <= tiles[1] <= width, "the tiles do not fit")
    need(tiles[0] * tiles[1] <= 1 << 16, "there are too many tiles")
    orientation = fields.integer(8, 2) if code & 32 else 1
    profile = fields.integer() if code & 16 else -1
    groups: list[Group] = []
    if code & 128:
        method = fields.integer()
        sizes = fields.integers(pictures * tiles[0] * tiles[1])
    else:
        sizes = fields.integers(pictures * alpha)
        left = pictures * tiles[0] * tiles[1]
        while left:
            groups.append(read_group(fields, left))
            left -= sum(chain.items for chain in groups[-1].chains)
    run = fields.integer(pictures, 1) if archive else 1
    need(run == 1 or run * height * width * COLOURS[kind] <= 1 << 26, "a run is too long")
    checks = [int.from_bytes(fields.take(4), "little") for _ in range(-(-pictures // run))]
    about = (pictures, kind, alpha, height, width, tiles, orientation, profile)
    return Bundle(*about, method, sizes, groups, run, checks)


def read_group(fields: Fields, left: int) -> Group:
    """A group of at most `left` tiles."""
    start, chains = fields.integer(), []
    for _ in range(fields.integer(left, 1)):
        count = fields.integer(left, 1)
        left -= count
        chains.append(Chain(count, fields.integer(count), fields.integer()))
    return Group(start, chains)


class Picture(NamedTuple):
    """A name, empty where there is none, and a Pillow image or a `DeepImage`."""

    name: str
    image: Any


def decode_lossless(lac: Lac, models: Models, most: int = MAX_PIXELS) -> Iterator[Picture]:
    """Decode a picture, or the pictures of an archive one after the other."""
    fields = lac.header
    revision, model = fields.integer(2, 1), None
    named = (fields.word(), fields.take(8)) if revision == 1 else None
    flags = fields.integer(15)
    if named:
        fields.integers(2)
    if flags & 8:
        fields.integers(2)
    names, bundles = [""], []
    if flags & 1:
        count = fields.integer(1 << 22)
        listed, left = Fields(inflate(lac.one("manifest"), 1 << 28)), count
        while left:
            bundles.append(read_bundle(listed, True, left, most))
            left -= bundles[-1].pictures
        names = read_names(listed, count)
    else:
        bundles.append(read_bundle(fields, False, 1, most))
    if named and any(not bundle.method for bundle in bundles):
        model = models(*named)
    extras = (
        read_metadata(lac.one("metadata"), len(names)) if flags & 4 else [Extras()] * len(names)
    )
    profiles = read_profiles(lac.one("icc")) if flags & 2 else []
    data, place, number = b"".join(lac.all("pixels")), 0, 0
    need(len(data) == sum(bundle.bytes for bundle in bundles), "the pixels have another length")
    for bundle in bundles:
        part = data[place : place + bundle.bytes]
        place += bundle.bytes
        need(bundle.profile < len(profiles), "a picture has no colour profile")
        profile = profiles[bundle.profile] if bundle.profile >= 0 else b""
        for pixels, alpha in checked(bundle, decode_bundle(bundle, part, model)):
            extra = extras[number]._replace(profile=profile)
            yield Picture(names[number], to_image(bundle, pixels, alpha, extra))
            number += 1


def read_profiles(section: bytes) -> list[bytes]:
    """Colour profiles."""
    fields = Fields(inflate(section, 1 << 26))
    return [fields.take(fields.integer()) for _ in range(fields.integer(1 << 22))]


def read_names(fields: Fields, count: int) -> list[str]:
    """Names, each coded relative to the one before it."""
    names, before = [], ""
    for _ in range(count):
        code = fields.integer()
        if code & 1:
            start = before.encode()[: code >> 1]
            need(len(start) == code >> 1, "a name goes on from a shorter one")
            try:
                before = (start + fields.take(fields.integer(4096))).decode()
            except UnicodeDecodeError as error:
                raise LacError("a name is not UTF-8") from error
        else:
            found = re.search(r"([0-9]{1,18})([^0-9]*)\Z", before)
            need(found, "a name counts on, but the one before it has no number")
            assert found
            digits = str(int(found[1]) + (code >> 1) + 1).zfill(len(found[1]))
            before = f"{before[: found.start()]}{digits}{found[2]}"
        check_name(before)
        names.append(before)
    need(len(set(names)) == count, "two pictures of the archive have one name")
    return names


def check_name(name: str) -> None:
    """Refuse a name that leads out of the folder, or has no place in one."""
    bad = any(part in ("", ".", "..") for part in name.split("/")) or len(name.encode()) > 4096
    bad = bad or "\\" in name or re.match(r"[A-Za-z]:", name) is not None
    bad = bad or any(category(letter) in ("Cc", "Cs") for letter in name)
    need(not bad, f"the name {name[:99]!r} is not allowed in an archive")


Samples = tuple[Array, Any]


def checked(bundle: Bundle, pictures: Iterator[Samples]) -> Iterator[Samples]:
    """The pictures, run by run, once their checksum has been compared."""
    checks, run = iter(bundle.checks), list[Samples]()
    for number, (pixels, alpha) in enumerate(pictures, start=1):
        run.append((pixels, alpha))
        if len(run) == bundle.run or number == bundle.pictures:
            check = 0
            for one, other in run:
                check = zlib.crc32(one.tobytes(), check)
                check = check if other is None else zlib.crc32(other.tobytes(), check)
            need(check == next(checks), "the pixels do not match their checksum: damaged")
            yield from run
            run = []


def to_image(bundle: Bundle, pixels: Array, alpha: Any, extra: Extras) -> Any:
    """A Pillow image, or a `DeepImage`."""
    from PIL import Image

    image: Any
    if is_deep(bundle.kind, bundle.alpha):
        image = DeepImage(pixels if alpha is None else np.dstack([pixels, alpha]))
    else:
        if bundle.kind == 4:
            pixels = np.repeat(pixels, 3, 2)
        image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0].copy())
        if alpha is not None:
            image.putalpha(Image.fromarray(alpha))
    if bundle.orientation != 1 and not extra.exif:
        tags = Image.Exif()
        tags[0x0112] = bundle.orientation
        extra = extra._replace(exif=tags.tobytes().removeprefix(b"Exif\0\0"))
    return extra.attach(image)


def decode_bundle(bundle: Bundle, data: bytes, model: Any) -> Iterator[Samples]:
    """The pictures of a bundle: samples, and alpha planes."""
    place, parts = 0, []
    for size in bundle.sizes:
        parts.append(data[place : place + size])
        place += size
    if bundle.method:
        colours, count = COLOURS[bundle.kind], bundle.tiles[0] * bundle.tiles[1]
        for first in range(0, len(parts), count):
            pixels = decode_tiles(bundle, parts[first : first + count], colours + bundle.alpha)
            alpha = pixels[..., -1].copy() if bundle.alpha else None
            yield np.ascontiguousarray(pixels[..., :colours]), alpha
        return
    need(model is not None, "the file names no model, but needs one")
    order = tiles_of(bundle) * bundle.pictures
    canvas, done = blank(bundle), 0
    for group in bundle.groups:
        tiles, end = order[done:], place + group.start
        shape = bundle.shape(*(part.stop - part.start for part in tiles[0]))
        start, chains = data[place:end], []
        for chain in group.chains:
            chains.append(data[end : end + chain.size])
            end += chain.size
        place = end
        for samples in decode_group(model, group, start, chains, shape):
            canvas[order[done]] = samples
            done += 1
            number, rest = divmod(done, len(order) // bundle.pictures)
            if not rest:
                alpha = None
                if bundle.alpha:
                    alpha = read_alpha(parts[number - 1], bundle.height, bundle.width)
                yield canvas, alpha
                canvas = blank(bundle)


def decode_tiles(bundle: Bundle, parts: Sequence[bytes], channels: int) -> Array:
    """A picture of a method without a model, from its tiles row by row."""
    shape = bundle.height, bundle.width, channels
    canvas: Array = np.zeros(shape, TYPES[BITS[bundle.kind]])
    for (rows, columns), part in zip(rows_of_tiles(bundle), parts, strict=True):
        size = {"height": rows.stop - rows.start, "width": columns.stop - columns.start}
        canvas[rows, columns] = decode_direct(bundle._replace(**size), part)
    return canvas


def tiles_of(bundle: Bundle) -> list[tuple[slice, slice]]:
    """The tiles of a picture: by size, sizes in order of appearance."""
    sizes: dict[tuple[int, int], list[tuple[slice, slice]]] = {}
    for rows, columns in rows_of_tiles(bundle):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        need(height * width <= 1 << 22, "a tile is too large")
        sizes.setdefault((height, width), []).append((rows, columns))
    return [tile for tiles in sizes.values() for tile in tiles]


def rows_of_tiles(bundle: Bundle) -> list[tuple[slice, slice]]:
    """The tiles of a picture, row by row."""
    spans = [
        [(k * length // count, (k + 1) * length // count) for k in range(count)]
        for length, count in zip((bundle.height, bundle.width), bundle.tiles, strict=True)
    ]
    return [(slice(*rows), slice(*columns)) for rows in spans[0] for columns in spans[1]]


def blank(bundle: Bundle) -> Array:
    """Room for a picture."""
    shape = bundle.shape(bundle.height, bundle.width)
    return np.zeros((*shape[:3],), TYPES[shape.bits])


def decode_group(
    model: Any, group: Group, start: bytes, chains: Sequence[bytes], shape: Shape
) -> list[Array]:
    """The tiles of a group, in order; all have one size."""
    stacks = [Stack(data) for data in chains]
    deepest, alone = max(c.items for c in group.chains), max(c.alone for c in group.chains)
    begun: list[list[Any]] = []
    stream = Range(start)
    for depth in range(min(alone, deepest) if model.levels else 0):
        live = sum(depth < chain.items for chain in group.chains)
        begun.append(decode_starts(model, stream, Shared(0).child(depth), live, shape))
    tiles: list[list[Array]] = [[] for _ in chains]
    for depth in reversed(range(deepest)):
        live_chains = [k for k, chain in enumerate(group.chains) if depth < chain.items]
        for place, k in enumerate(live_chains):
            if depth < len(begun):
                tiles[k].append(model.pop(stacks[k], begun[depth][place], shape))
            else:
                tiles[k].append(pop_chained(model, stacks[k], shape))
    return [tile for chain in tiles for tile in chain]


def decode_starts(model: Any, stream: Range, shared: Shared, count: int, shape: Shape) -> list[Any]:
    """The states, after the last level, of tiles whose latents are in a group's start."""
    states = [model.start(shape.height, shape.width) for _ in range(count)]
    for level in range(model.levels):
        known: list[Known] = [model.prior(level, state) for state in states]
        scale = np.stack([k.scale for k in known])
        rates = expected_rates(scale).reshape(-1)
        u = decode_message(START_CODER, stream, shared.child(level), scale.shape, rates)
        loc = np.stack([k.loc for k in known]) / ONE
        latents = np.floor((loc + scale * u.reshape(scale.shape).astype(np.float64)) * ONE + 0.5)
        states = [model.take_in(level, k, z) for k, z in zip(known, latents, strict=True)]
    return states


def pop_chained(model: Any, stack: Stack, shape: Shape) -> Array:
    """A tile by bits-back: latents, pixels, and the bits of the draw go back on the stack."""
    state, levels = model.start(shape.height, shape.width), []
    for level in range(model.levels):
        known = model.prior(level, state)
        bins = pop_bins(stack, known.loc.size)
        u = bin_centres(bins).reshape(known.loc.shape)
        state = model.take_in(level, known, known.loc + np.floor(known.scale * u + 0.5))
        levels.append((known, bins))
    pixels = model.pop(stack, state, shape)
    features = model.climb(pixels, shape) if model.levels else []
    for level in reversed(range(model.levels)):
        known, bins = levels[level]
        mean, log_scale = model.posterior(level, known, features[level])
        flat = [part.astype(np.int64).reshape(-1) for part in (mean, log_scale)]
        push_bins(stack, bins, flat[0], flat[1])
    found: Array = pixels
    return found


# ---- Methods without a model --------------------------------------------------------------------


def decode_direct(bundle: Bundle, data: bytes) -> Array:
    """A picture of a method without a model: `(height, width, channels)`, alpha last."""
    height, width, bits = bundle.height, bundle.width, BITS[bundle.kind]
    channels = COLOURS[bundle.kind] + bundle.alpha
    return decode_method(bundle, data, (height, width, channels), bits)


def decode_method(bundle: Bundle, data: bytes, shape: tuple[int, int, int], bits: int) -> Array:
    """The same, of samples of so many bits."""
    height, width, channels = shape
    need(1 <= bundle.method <= 8, f"a picture of method {bundle.method}: {ELSEWHERE}")

    def decode(method: int, part: bytes, depth: int) -> Array:
        return decode_method(bundle._replace(method=method), part, shape, depth)

    if bundle.method in (5, 6):
        need(bits == 16, "prediction and levels are for 16 bits")
    if bundle.method in (7, 8):
        need(bits == 8, "least squares and conversions are for 8 bits")
    if bundle.method == 5:
        return decode_predicted(data, *shape)
    if bundle.method == 6:
        return decode_levels(data, channels, decode)
    if bundle.method == 7:
        return decode_squares(data, *shape)
    if bundle.method == 8:
        need(channels > 2, "conversions are for three or four channels")
        return decode_converted(data, decode)
    if bundle.method == 4:
        need(height * width <= 1 << 25, "a picture is too large for contexts")
        return decode_contexts(data, height, width, channels, bits).astype(TYPES[bits])
    if bundle.method == 1:
        return decode_plain(data, shape, bits)
    return decode_stream(bundle, data, shape, bits)


def decode_plain(data: bytes, shape: tuple[int, int, int], bits: int) -> Array:
    """Samples as they are."""
    height, width, channels = shape
    need(len(data) == -(-height * width * channels * bits // 8), "plain samples are missing")
    if bits == 1:
        flat = np.unpackbits(np.frombuffer(data, np.uint8), count=height * width)
    else:
        flat = np.frombuffer(data, f"<u{bits // 8}")
    return flat.astype(TYPES[bits]).reshape(height, width, channels)


def decode_stream(bundle: Bundle, data: bytes, shape: tuple[int, int, int], bits: int) -> Array:
    """A WebP or PNG stream."""
    height, width, channels = shape
    need(height * width <= 1 << 26, "a picture is too large for a WebP or PNG stream")
    need(bundle.method != 2 or webp_size(data) == (width, height), "a WebP stream has another size")
    if bundle.method == 3 and bits == 16 and channels > 1:
        return decode_deep_png(data, *shape)
    wrapped = png_file(data, height, width, bits, channels)
    wrapped = wrap_webp(data) if bundle.method == 2 else wrapped
    mode = ("L", "LA", "RGB", "RGBA")[channels - 1]
    values = open_wrapped(wrapped, bundle, mode if bits == 8 else "")
    if bundle.method == 2 and bits == 1:
        values = values[..., 0]
    values = values > 0 if bits == 1 else values
    return values.astype(TYPES[bits]).reshape(height, width, channels)


def open_wrapped(file: bytes, bundle: Bundle, mode: str) -> Array:
    """The samples of a WebP or PNG file."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file), formats=["WEBP", "PNG"]) as image:
            if bundle.method == 2 and mode in ("L", "LA"):
                values = np.asarray(image.convert("RGB" if mode == "L" else "RGBA"))
                return values[..., :1] if mode == "L" else values[..., [0, 3]]
            return np.asarray(image.convert(mode) if mode else image)
    except (OSError, ValueError, SyntaxError, zlib.error) as error:
        raise LacError(f"a wrapped picture is damaged: {error}") from error


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by a stream's first bytes, before Pillow takes memory for them."""
    if len(data) < 5:
        return None
    fields = int.from_bytes(data[1:5], "little")
    return (fields & 0x3FFF) + 1, (fields >> 14 & 0x3FFF) + 1


def wrap_webp(data: bytes) -> bytes:
    """A WebP file around the content of its chunk VP8L."""
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
