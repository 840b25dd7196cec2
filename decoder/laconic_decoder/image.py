"""Lossy pictures and their model (docs/format.md, "Sections", "The sliced model")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .arithmetic import ONE, Net, exact_exp, exact_log, expected_rates, fold, shift, unfold
from .coders import decode_message
from .coding import Range, Shared
from .container import MAX_PIXELS, Array, Fields, Lac, LacError, inflate, need
from .draws import Coder, read_coder


class Point(NamedTuple):
    """A tile's size and operating point: quality step, and taste in units of 2^-12."""

    height: int
    width: int
    step: int
    taste: int = 0


class Sliced:
    """The sliced ladder: priors in integers, the picture in float32."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Array]) -> None:
        self.block = config.get("block", 16)
        self.slices = config.get("slices", (16, 48, 96, 140))
        self.passes = config.get("passes") or [1] * len(self.slices)
        self.parts = [(k, p) for k, count in enumerate(self.passes) for p in range(count)]
        self.levels, self.stride = 1 + len(self.parts), 2 * self.block
        self.top, self.betas = config.get("top", 32), config.get("beta_range", (2e-4, 2.56e-2))
        self.exact, self.float = Net(tensors, True), Net(tensors, False)
        self.variance = tensors["transform.variance"].astype(np.float64)
        self.synthesis = tensors["transform.synthesis"]
        self.points: dict[tuple[int, int], Array] = {}

    def prior(self, level: int, above: list[Array], point: Point) -> tuple[Array, Array, Any]:
        """Mean, scale and expected rates of a level; no rates for the top."""
        if level == 0:
            size = (self.top, -(-point.height // self.stride), -(-point.width // self.stride))
            return np.zeros(size), np.ones(size), None
        net, (index, turn) = self.exact, self.parts[level - 1]
        position = float((1000 - 2 * point.step) * 4096 // 1000 * 16)
        embedding = net.embed(position, point.taste * 16.0)
        latents = [np.floor(z * ONE + 0.5) for z in above]
        top = net.leaky(net.chain("top_decoder", latents[0], embedding))
        slices, first = self.gather(latents[1:])
        seen = [unfold(net.conv("top_up", top), 2), *map(net.asinh, slices)]
        hidden = net.leaky(net.chain(f"prior_stacks.{index}", np.concatenate(seen), embedding))
        moments = net.conv(f"prior_heads.{index}.project", hidden)
        if net.has(f"refiners.{level - 1}.head.project.weight"):
            if first is not None:
                hidden = np.concatenate([hidden, net.asinh(first)])
            hidden = net.chain(f"refiners.{level - 1}.stack", hidden, embedding)
            moments = moments + net.conv(f"refiners.{level - 1}.head.project", net.leaky(hidden))
        loc, correction = np.split(moments, 2)
        begin = sum(self.slices[:index])
        variance = exact_log(self.variance[begin : begin + self.slices[index], None, None])
        low, high = (exact_log(np.float64(beta)) for beta in self.betas)
        log_beta = (low + high) / 2 + shift((high - low) / 2 * position, 16)
        ratio = np.maximum(variance - log_beta, -603609.0)
        log_scale = shift(ratio, 1) + correction
        if self.passes[index] > 1:
            loc, log_scale = checkerboard(loc)[turn], checkerboard(log_scale)[turn]
        scale = exact_exp(log_scale)
        return loc / ONE, scale, expected_rates(scale)

    def gather(self, parts: list[Array]) -> tuple[list[Array], Any]:
        """Complete slices, and a first pass whose second is still to come."""
        slices, rest = [], list(parts)
        for count in self.passes:
            if len(rest) < count:
                break
            slices.append(rest[0] if count == 1 else interleave(rest[0], rest[1]))
            rest = rest[count:]
        return slices, interleave(rest[0], np.zeros_like(rest[0])) if rest else None

    def picture(self, latents: list[Array], point: Point) -> Array:
        """The padded picture, `(3, height, width)`."""
        net, f = self.float, np.float32
        low, high = (math.log(beta) for beta in self.betas)
        log_beta = high + (low - high) * point.step / 1000
        place = (log_beta - (low + high) / 2) / ((high - low) / 2)
        embedding = net.embed(f(place), f(point.taste / 4096))
        sigma, z = f(math.exp(log_beta / 2)), np.concatenate(self.gather(latents[1:])[0]).astype(f)
        rows = self.synthesis.reshape(z.shape[0], -1).T @ (sigma * z).reshape(z.shape[0], -1)
        linear = unfold(rows.reshape(-1, *z.shape[1:]), self.block)
        seen = np.concatenate([np.arcsinh(z), np.arcsinh(4 * sigma * z)])
        coarse = net.chain("decoder.coarse", seen, embedding)
        lifted = net.conv("decoder.up", coarse)
        branch = net.has("decoder.branch.up.weight")
        if branch:
            hidden = net.chain("decoder.branch.coarse", np.concatenate([seen, coarse]), embedding)
            lifted = lifted + net.conv("decoder.branch.up", net.leaky(hidden))
        half = self.block // 2
        entered = np.concatenate([unfold(net.leaky(lifted), 2), fold(linear, half)])
        fine = net.chain("decoder.fine", entered, embedding)
        picture = linear + unfold(net.conv("decoder.out", net.leaky(fine)), half) + f(0.5)
        if branch:
            hidden = net.chain("decoder.branch.fine", np.concatenate([entered, fine]), embedding)
            hidden = unfold(net.leaky(hidden), 2)
            hidden = net.chain("decoder.branch.finest", hidden, embedding)
            correction = net.conv("decoder.branch.out", net.leaky(hidden))
            picture = picture + unfold(correction, self.block // 4)
        return picture


def checkerboard(x: Array) -> tuple[Array, Array]:
    """The places of a map where row + column is even, and the others."""
    left, right = x[..., 0::2], x[..., 1::2]
    odd = (np.arange(x.shape[-2]) % 2 == 1)[:, None]
    return np.where(odd, right, left), np.where(odd, left, right)


def interleave(even: Array, other: Array) -> Array:
    """The inverse of `checkerboard`."""
    odd = (np.arange(even.shape[-2]) % 2 == 1)[:, None]
    pair = np.where(odd, other, even), np.where(odd, even, other)
    return np.stack(pair, -1).reshape(*even.shape[:-1], -1)


class Extras(NamedTuple):
    """What a picture has besides its pixels."""

    profile: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, ...] = ()

    def attach(self, image: Any) -> Any:
        """Put them into a Pillow image's `info`."""
        found = {"icc_profile": self.profile, "xmp": self.xmp, "dpi": self.dpi}
        found["exif"] = b"Exif\0\0" + self.exif if self.exif else b""
        image.info.update({key: value for key, value in found.items() if value})
        return image


def read_metadata(section: bytes, count: int) -> list[Extras]:
    """The metadata of each picture."""
    fields, found = Fields(inflate(section, 1 << 28)), []
    for _ in range(count):
        record, kinds = Fields(fields.take(fields.integer())), dict[int, bytes]()
        while record.place < len(record.data):
            kind = record.integer()
            need(not kinds or kind > max(kinds), "the metadata are damaged")
            kinds[kind] = record.take(record.integer())
        dpi = tuple(v / 10000 for v in Fields(kinds[3]).integers(2)) if 3 in kinds else ()
        found.append(Extras(b"", kinds.get(1, b""), kinds.get(2, b""), dpi))
    return found


def read_alpha(data: bytes, height: int, width: int) -> Array:
    """An alpha plane."""
    if len(data) == 2 and data[0] == 0:
        return np.full((height, width), data[1], np.uint8)
    method, number = (data[0] >> 4, data[0] & 15) if data else (0, 0)
    need(method in (1, 2) and number < 4, "the alpha plane is stored in an unknown way")
    if method == 1:
        plain = inflate(data[1:], height * width + 1)
    else:
        import lzma

        try:
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 28)
            plain = unpacker.decompress(data[1:], height * width + 1)
        except (lzma.LZMAError, EOFError) as error:
            raise LacError(f"the alpha plane is damaged: {error}") from error
    need(len(plain) == height * width, "the alpha plane has another size than the picture")
    plane = np.frombuffer(plain, np.uint8).reshape(height, width)
    plane = np.cumsum(plane, 0, np.uint8) if number & 2 else plane
    return np.cumsum(plane, 1, np.uint8) if number & 1 else plane


def check_size(height: int, width: int, most: int) -> None:
    """Refuse sizes that the format or the user do not allow."""
    need(1 <= height <= 65536 and 1 <= width <= 65536, f"a picture of {width} x {height} pixels")
    need(height * width <= most, f"{width} x {height} pixels are more than --max-pixels {most}")


Models = Callable[[str, bytes], Any]


class ImageHeader(NamedTuple):
    """What decoding needs of a lossy picture's header."""

    name: str
    fingerprint: bytes
    width: int
    height: int
    colour: int
    flags: int
    tile: list[int]
    step: int
    taste: int
    seed: int
    coders: list[Coder]
    layers: list[int]

    def spans(self, axis: int) -> list[tuple[int, int]]:
        """First and last pixel of the tiles along an axis, 0 for columns."""
        length, tile, step = (
            (self.width, self.height)[axis],
            self.tile[axis],
            self.tile[axis] - self.tile[2],
        )
        count = 1 if tile >= length else -(-(length - self.tile[2]) // step)
        return [(k * step, min(k * step + tile, length)) for k in range(count)]


def read_image_header(fields: Fields, most: int) -> ImageHeader:
    """Read and check it."""
    need(fields.integer() == 1, "a picture of a newer revision: use a newer decoder")
    name, fingerprint = fields.word(), fields.take(8)
    width, height, colour, flags = fields.integers(4)
    check_size(height, width, min(most, MAX_PIXELS))
    need(colour < 3 and flags < 256, "a picture of a newer kind: use a newer decoder")
    tile = fields.integers(3, 65536) if flags & 8 else [width, height, 0]
    for side, length in zip(tile, (width, height), strict=False):
        need(0 < side <= length and (side == length or tile[2] < side), "the tiles do not fit")
    need(tile[0] * tile[1] <= 1 << 22, "a tile is too large")
    step = fields.integer(1000)
    taste = fields.integer(8192) - 4096 if flags & 32 else 0
    seed, levels, layers = fields.integer(), fields.integer(64), list[int]()
    while flags & 64 and (count := fields.integer(levels - sum(layers))):
        layers.append(count)
    layers.append(levels - sum(layers))
    need(layers[-1] or not levels, "the last layer has no levels: the file is damaged")
    coders: list[Coder] = []
    while len(coders) < levels:
        run = fields.integer(levels - len(coders), 1)
        coders += [read_coder(fields)] * run
    about = (name, fingerprint, width, height, colour, flags, tile, step, taste, seed)
    return ImageHeader(*about, coders, layers)


def decode_image(lac: Lac, models: Models, most: int = MAX_PIXELS) -> Any:
    """Decode a lossy picture to a Pillow image."""
    from PIL import Image

    header = read_image_header(lac.header, most)
    model, streams = models(header.name, header.fingerprint), lac.all("latents")
    rows, columns = header.spans(1), header.spans(0)
    tiles = len(rows) * len(columns)
    need(len(streams) == tiles * len(header.layers), "the file has another number of tiles")
    need(len(header.coders) == model.levels, "the file has other levels than its model")
    canvas = np.zeros((header.height, header.width, 3), np.float32)
    for k in range(tiles):
        (top, bottom), (left, right) = rows[k // len(columns)], columns[k % len(columns)]
        point = Point(bottom - top, right - left, header.step, header.taste)
        latents = read_latents(
            header, model, streams[k::tiles], Shared(header.seed).child(k), point
        )
        shown = model.picture(latents, point)[:, : point.height, : point.width]
        need(np.isfinite(shown).all(), "the file decodes to no numbers; it is damaged")
        weight = ramp(top, bottom, header.height, header.tile[2])[:, None, None]
        weight = weight * ramp(left, right, header.width, header.tile[2])[:, None]
        canvas[top:bottom, left:right] += weight * np.clip(shown.transpose(1, 2, 0), 0, 1)
    pixels = np.rint(np.clip(canvas, 0, 1, out=canvas) * np.float32(255)).astype(np.uint8)
    grey = ((pixels.sum(2, dtype=np.uint16) + 1) // 3).astype(np.uint8) if header.colour else None
    image = Image.fromarray(pixels if grey is None else grey)
    if header.flags & 1:
        alpha = read_alpha(lac.one("alpha"), header.height, header.width)
        image.putalpha(Image.fromarray(alpha))
    elif header.colour == 2:
        image = image.point(lambda v: 255 if v >= 128 else 0).convert("1")
    extras = read_metadata(lac.one("metadata"), 1)[0] if header.flags & 16 else Extras()
    profile = inflate(lac.one("icc"), 1 << 22) if header.flags & 2 else b""
    return extras._replace(profile=profile).attach(image)


def read_latents(
    header: ImageHeader, model: Any, streams: list[bytes], shared: Shared, point: Point
) -> list[Array]:
    """The latents of a tile; one stream for each layer."""
    latents: list[Array] = []
    for data, count in zip(streams, header.layers, strict=True):
        stream = Range(data)
        for level in range(len(latents), len(latents) + count):
            loc, scale, rates = model.prior(level, latents, point)
            flat = None if rates is None else rates.reshape(-1)
            coder = header.coders[level]
            u = decode_message(coder, stream, shared.child(level), loc.shape, flat)
            latents.append(loc + scale * u.reshape(loc.shape).astype(np.float64))
    return latents


def ramp(first: int, last: int, length: int, overlap: int) -> Array:
    """Weights of a tile along one axis."""
    weights = np.ones(last - first, np.float32)
    rise = np.arange(1, overlap + 1, dtype=np.float32) / np.float32(overlap + 1)
    if first and overlap:
        weights[:overlap] = rise
    if last < length and overlap:
        weights[-overlap:] = 1 - rise
    return weights
