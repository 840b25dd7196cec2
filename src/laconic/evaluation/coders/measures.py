"""Rate, bias and speed of relative entropy coders: on synthetic latents and on real posteriors.

A measurement is a row of plain numbers. A skipped measurement is a row, too; its key "skipped"
holds the reason.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.file import ImageFile
from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.data.folders import load_rgb
from laconic.errors import LaconicError
from laconic.evaluation.images.ours import exact_draw
from laconic.metrics.images import Image8, psnr

Row = dict[str, Any]
MakeCodec = Callable[[str], ImageCodec]
"""Name of a coder -> the image codec with this coder on every level."""


class Level(NamedTuple):
    """One latent tensor with its target and prior.

    Attributes:
        data: y, on which the target depends; `(1, channels, height, width)`, like target and prior.
        target: prior times N(y; z, 1).
        prior: N(0, S).
    """

    data: Tensor
    target: Normal
    prior: Normal

    def channels(self, count: int) -> "Level":
        """The first channels of this level."""

        def cut(x: Tensor) -> Tensor:
            return x[:, :count].contiguous()

        target, prior = (Normal(cut(x.loc), cut(x.scale)) for x in (self.target, self.prior))
        return Level(cut(self.data), target, prior)


@dataclass(frozen=True)
class Plan:
    """The settings of a measurement.

    Attributes:
        kl_bits: KL per dimension of the homogeneous latents, in bits.
        channels: channels of the homogeneous latents, 16 x 16 dimensions each.
        block_bits: KL of a block, for coders that search blocks.
        block_channels: channels of the latents for these, at 0.3 bits per dimension.
        gains: gains of the synthetic ladder level.
        ladder_channels: channels of the synthetic ladder level, 32 x 48 dimensions each.
        pictures: number of pictures whose posteriors are measured.
        qualities: qualities of these pictures.
        limit_seconds: points that would take longer to encode are skipped.
    """

    kl_bits: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0)
    channels: int = 256
    block_bits: tuple[int, ...] = (4, 8, 12, 16, 20, 24)
    block_channels: int = 64
    gains: tuple[float, ...] = (0.02, 0.05, 0.3, 1.0)
    ladder_channels: int = 256
    pictures: int = 16
    qualities: tuple[float, ...] = (20, 50, 80)
    limit_seconds: float = 20.0


QUICK = Plan((0.03, 0.3, 2.0), 8, (4, 12), 4, (0.3,), 8, 1, (50,), 5.0)
"""Takes seconds instead of minutes per coder; too few dimensions for published figures."""

SECTIONS = ("kl", "blocks", "ladder", "pictures")
"""The sections of a coder's measurement, in this order."""

REGISTERS = (10, 12, 13, 14, 16)
"""Other lengths of the trellis coder's register, which are measured on the ladder level."""


# ------------------------------------------------------------------------------------- the sources


def homogeneous_level(kl_bits: float, channels: int, seed: int = 0) -> Level:
    """Latents with identical distributions and this mean KL per dimension.

    Formula: y ~ N(0, S + 1) has a mean KL of log2(1 + S) / 2 bits.
    """
    shape = (channels, 16, 16)
    variance = np.full(shape, 4.0**kl_bits - 1)
    return _level(variance, np.random.default_rng(seed).normal(size=shape))


def ladder_level(gain: float, channels: int, seed: int = 0) -> Level:
    """Latents `[1, channels, 32, 48]` with statistics like those of a 768x512 picture.

    Prior variance S = channel (log-uniform over five decades) x spatial activity (smooth,
    log-normal) x jitter.
    """
    rng, shape = np.random.default_rng(seed), (channels, 32, 48)
    levels = np.exp(rng.permutation(np.linspace(np.log(2e-3), np.log(400), channels)))
    fields = _smooth(rng.normal(size=(8, *shape[1:])), 2.5)
    activity = np.exp(1.2 * fields / fields.std())[rng.integers(0, 8, channels)]
    jitter = np.exp(0.5 * rng.normal(size=shape))
    variance = np.maximum(gain * levels[:, None, None] * activity * jitter, 1e-6)
    return _level(variance, rng.normal(size=shape))


def _level(variance: NDArray[np.float64], noise: NDArray[np.float64]) -> Level:
    y, weight = noise * np.sqrt(variance + 1), variance / (variance + 1)

    def tensor(x: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(x[None]).float()

    prior = tensor(np.sqrt(variance))
    return Level(
        tensor(y), Normal(tensor(weight * y), tensor(np.sqrt(weight))), Normal(0 * prior, prior)
    )


def _smooth(fields: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Gaussian filter of the last two axes, mirrored at the borders."""
    reach = round(4 * scale)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / scale) ** 2)
    kernel /= kernel.sum()
    for axis in (-2, -1):
        pad = [(reach, reach) if i == axis % fields.ndim else (0, 0) for i in range(fields.ndim)]
        padded = np.pad(fields, pad, mode="symmetric")
        fields = np.apply_along_axis(np.convolve, axis, padded, kernel, mode="valid")
    return fields


# ------------------------------------------------------------------------------------ one coder


def measure_message(coder: RelativeEntropyCoder, level: Level, seed: int = 0) -> Row:
    """Measure one message: bits with all side information, bias, candidates and time.

    "bias" is the mean squared standardised residual minus 1; "loss_db" is the squared distance to
    the data over the mean one of exact draws. Both are 0 for exact draws, up to chance.
    """
    shared, stream = SharedRandomness(seed), QueueEncoder()
    begin = time.perf_counter()
    draw, receipt = coder.encode(level.target, level.prior, stream, shared)
    message = stream.finish()
    encoded = time.perf_counter()
    received = coder.decode(level.prior, QueueDecoder(message), shared)
    decoded = time.perf_counter()
    dims, ideal = draw.numel(), receipt.ideal_bits
    exact = (level.target.loc - level.data).square() + level.target.scale.square()
    loss = float((draw - level.data).square().mean() / exact.mean())
    return {
        "config": coder.config(),
        "dims": dims,
        "ideal_bits": ideal,
        "theory_bits": receipt.theory_bits,
        "file_bits": 8 * len(message),
        "kl_per_dim": ideal / dims,
        "bits_per_kl": 8 * len(message) / ideal,
        "parts_per_kl": {name: bits / ideal for name, bits in receipt.parts.items()},
        "bias": float(((draw - level.target.loc) / level.target.scale).square().mean()) - 1,
        "loss_db": 10 * math.log10(loss),
        "proposals_per_dim": receipt.candidates / dims,
        "encode_us_per_dim": 1e6 * (encoded - begin) / dims,
        "decode_us_per_dim": 1e6 * (decoded - encoded) / dims,
        "encode_seconds": encoded - begin,
        "decode_seconds": decoded - encoded,
        "round_trip": bool(torch.equal(draw, received)),
    }


def measure_within(
    coder: RelativeEntropyCoder, level: Level, limit_seconds: float, seed: int = 0
) -> Row:
    """`measure_message`, unless a part of the level shows that it would take too long.

    The parts, a 64th and then an 8th, also compile the loops before the timed run.
    """
    channels = level.data.shape[1]
    try:
        for share in (64, 8):
            part = level.channels(max(1, channels // share))
            if part.data.shape[1] < channels:
                measure_message(coder, part, seed)
                expected = measure_message(coder, part, seed)["encode_seconds"]
                expected *= channels / part.data.shape[1]
                if expected > limit_seconds:
                    return _skip(coder, f"{expected:.0f} s expected, limit {limit_seconds:.0f} s")
        return measure_message(coder, level, seed)
    except LaconicError as error:
        return _skip(coder, str(error))


def _skip(coder: RelativeEntropyCoder, reason: str) -> Row:
    return {"config": coder.config(), "skipped": reason}


def over_kl(coder: RelativeEntropyCoder, plan: Plan) -> Iterator[Row]:
    """Homogeneous latents, from little to much KL per dimension."""
    for kl in plan.kl_bits:
        level = homogeneous_level(kl, plan.channels)
        yield {"wanted_kl_per_dim": kl} | measure_within(coder, level, plan.limit_seconds)


def over_blocks(coder: RelativeEntropyCoder, plan: Plan) -> Iterator[Row]:
    """Growing blocks at 0.3 bits per dimension; nothing for coders without a block budget."""
    level, broken = homogeneous_level(0.3, plan.block_channels), ""
    for bits in plan.block_bits:
        config = block_config(coder, bits)
        if config is None:
            return
        row: Row = {"block_bits": bits}
        try:
            other = type(coder).from_config(config)
        except LaconicError as error:
            yield row | {"config": config, "skipped": str(error)}
            continue
        if broken:
            yield row | _skip(other, broken)
            continue
        row |= measure_within(other, level, plan.limit_seconds)
        # The search time doubles with every bit: do not even try a small part of the next block.
        if "skipped" in row:
            broken = f"smaller blocks were skipped already: {row['skipped']}"
        yield row


def block_config(coder: RelativeEntropyCoder, bits: int) -> dict[str, int] | None:
    """The coder's parameters for blocks of this many bits of KL, or None if it has no blocks.

    Parameters in proportion to the budget (width of an index, cap of the ratio) change with it.
    """
    config = coder.config()
    # The budget of the rejection sampler counts draws per dimension, not bits of a block.
    if "budget" not in config or coder.id == "rejection":
        return None
    for name in ("index_bits", "cap_bits"):
        if name in config:
            config[name] += bits - config["budget"]
    return {**config, "budget": bits}


def over_ladder(coder: RelativeEntropyCoder, plan: Plan) -> Iterator[Row]:
    """The synthetic ladder level; for the trellis coder also shorter and longer registers."""
    coders = [coder]
    if coder.id == "trellis":
        coders += [type(coder).from_config({**coder.config(), "state_bits": n}) for n in REGISTERS]
    for gain in plan.gains:
        level = ladder_level(gain, plan.ladder_channels)
        for one in coders:
            yield {"gain": gain} | measure_within(one, level, plan.limit_seconds)


# ------------------------------------------------------------------------------- real posteriors


def over_pictures(
    make: MakeCodec, name: str, pictures: Sequence[Path], plan: Plan
) -> Iterator[Row]:
    """Complete files of real pictures, compared with exact draws from the same posteriors."""
    codec = make(name)
    for path in pictures[: plan.pictures]:
        pixels = load_rgb(path)
        for quality in plan.qualities:
            row: Row = {"image": path.stem, "quality": quality}
            try:
                yield row | _measure_picture(codec, pixels, quality, plan.limit_seconds)
            except LaconicError as error:
                yield row | {"skipped": str(error)}


def _measure_picture(
    codec: ImageCodec, pixels: Image8, quality: float, limit_seconds: float
) -> Row:
    # A small corner has mostly fixed costs: only a far too slow coder is skipped here.
    for side, slack in ((64, 8.0), (256, 1.0)):
        corner = np.ascontiguousarray(pixels[:side, :side])
        codec.encode(corner, quality=quality)
        begin = time.perf_counter()
        codec.encode(corner, quality=quality)
        expected = (time.perf_counter() - begin) * pixels.size / corner.size
        if expected > slack * limit_seconds:
            return {"skipped": f"{expected:.0f} s expected, limit {limit_seconds:.0f} s"}
    begin = time.perf_counter()
    data = codec.encode(pixels, quality=quality)
    encoded = time.perf_counter()
    shown = np.array(codec.decode(data).convert("RGB"))
    decoded = time.perf_counter()
    info, model = ImageFile.read(data).describe(), codec.runtime.model
    exact = [
        psnr(pixels, exact_draw(model, pixels, quality, torch.Generator().manual_seed(seed)))
        for seed in range(2)
    ]
    return {
        "ideal_bits": info.ideal_bits,
        "theory_bits": info.theory_bits,
        "file_bits": info.file_bits,
        "bits_per_kl": info.file_bits / info.ideal_bits,
        "psnr": psnr(pixels, shown),
        "exact_psnr": float(np.mean(exact)),
        "loss_db": float(np.mean(exact)) - psnr(pixels, shown),
        "encode_seconds": encoded - begin,
        "decode_seconds": decoded - encoded,
    }


# -------------------------------------------------------------------------------------- all of it


def measure_coder(
    name: str,
    plan: Plan,
    pictures: Sequence[Path] = (),
    make: MakeCodec | None = None,
    say: Callable[[str], None] = lambda text: None,
    only: Sequence[str] = (),
) -> Row:
    """Everything about one coder, by section.

    Args:
        name: an id of `CODERS`, measured with its default parameters; or "is-gs", which is one
            coder per level of a ladder and has only the section "pictures".
        plan: the settings.
        pictures: pictures for the section "pictures"; without any, it is left out.
        make: makes the image codec of that section.
        say: called with one line of text for every row.
        only: sections to measure; all if empty.
    """
    found: Row = {"config": {}, "exact": False}
    sections: dict[str, Iterator[Row]] = {}
    if name in CODERS:
        coder = CODERS[name]()
        found = {"config": coder.config(), "exact": coder.exact}
        sections["kl"] = over_kl(coder, plan)
        sections["blocks"] = over_blocks(coder, plan)
        sections["ladder"] = over_ladder(coder, plan)
    if pictures and make is not None:
        sections["pictures"] = over_pictures(make, name, pictures, plan)
    for section, rows in sections.items():
        if only and section not in only:
            continue
        found[section] = []
        for row in rows:
            found[section].append(row)
            say(summarise(name, section, row))
    return found


def summarise(name: str, section: str, row: Row) -> str:
    """A row as one line of a printed table."""
    keys = ("wanted_kl_per_dim", "block_bits", "gain", "image", "quality")
    point = " ".join(f"{key.removeprefix('wanted_')} {row[key]}" for key in keys if key in row)
    if "state_bits" in row.get("config", {}):
        point += f" state_bits {row['config']['state_bits']}"
    head = f"{name:14s} {section:8s} {point:30s}"
    if "skipped" in row:
        return f"{head} skipped: {row['skipped']}"
    text = f"{head} {row['ideal_bits'] / 1e3:8.1f} kbit x{row['bits_per_kl']:6.3f} "
    text += f"loss {row['loss_db']:+6.3f} dB "
    if "bias" in row:
        text += f"bias {row['bias']:+6.3f} {row['proposals_per_dim']:9.1f} proposals/dim "
        return text + f"{row['encode_us_per_dim']:8.2f} / {row['decode_us_per_dim']:.2f} us/dim"
    return text + f"{row['encode_seconds']:.2f} / {row['decode_seconds']:.2f} s"
