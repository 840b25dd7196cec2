"""The models of lossless files, in integers (docs/format.md, "The pixel model")."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arithmetic import ONE, Net, exact_exp, exact_log, fold, shift, unfold
from .container import ELSEWHERE, Array, need
from .stack import PixelParameters, Stack, pop_bernoulli, pop_pixels


class Shape(NamedTuple):
    """Of a tile: rows, columns, colours, bits of a sample."""

    height: int
    width: int
    colours: int
    bits: int

    @property
    def step(self) -> float:
        """A sample in steps of 8 bits."""
        return {1: 255.0, 8: 1.0, 16: 1 / 256}[self.bits]


def whole(x: Array) -> Array:
    """Integers in float64 as int64, limited to 2^30 either way."""
    return np.clip(x, -(2.0**30), 2.0**30).astype(np.int64)


def mixture_parameters(pivot: Array, parameters: Array, colours: int) -> PixelParameters:
    """From pivots `(n, 3)` and network outputs `(n, 12 K)`."""
    logits, distance, log_scale, c = parameters.reshape(len(parameters), 4, 3, -1).swapaxes(0, 1)
    centre = pivot[:, :, None]
    move = np.zeros_like(c)
    move[:, 1] = shift(c[:, 0] * centre[:, 0], 16)
    move[:, 2] = shift(c[:, 1] * centre[:, 0] + c[:, 2] * centre[:, 1], 16)
    means = 128 * ONE + centre + 16 * distance - move
    scales = np.maximum(log_scale + ONE, -4 * ONE)
    parts = [whole(part[:, :colours]) for part in (logits, means, scales)]
    return PixelParameters(parts[0], parts[1], parts[2], whole(c) if colours == 3 else None)


class Causal:
    """A causal convolution in integers, at some places of padded maps that it keeps."""

    def __init__(self, net: Net, name: str, wide: int, places: int) -> None:
        weight = net.get(f"{name}.weight")
        outputs, inputs, taps = weight.shape
        side = 1
        while (side * side - 1) // 2 + 1 < taps:
            side += 2
        reach = side // 2
        offsets = [(r, c) for r in range(-reach, 1) for c in range(-reach, reach + 1)][:taps]
        self.shifts = np.array([r * wide + c for r, c in offsets])
        self.matrix = weight.transpose(2, 1, 0).reshape(taps * inputs, outputs).copy()
        self.bias = net.get(f"{name}.bias", 32)
        self.maps = np.zeros((places, inputs))

    def at(self, places: Array) -> Array:
        """The outputs at places, `(n, outputs)`."""
        seen = self.maps[places[:, None] + self.shifts].reshape(len(places), -1)
        return shift(seen @ self.matrix + self.bias, 16)


def pop_causal(net: Net, stack: Stack, shape: Shape, base: Any, features: Any) -> Array:
    """Samples of a tile, wave by wave, each pixel given those before it."""
    prefix, blocks = "context_network", 0
    while net.has(f"{prefix}.blocks.{blocks}.inner.weight"):
        blocks += 1
    taps = net.get(f"{prefix}.linear.weight").shape[2]
    reach = next(r for r in range(1, 99) if 2 * r * (r + 1) == taps)
    wide = shape.width + 2 * reach
    places = (shape.height + reach) * wide + reach

    def causal(name: str) -> Causal:
        return Causal(net, f"{prefix}.{name}", wide, places)

    def pointwise(name: str, x: Array) -> Array:
        weight = net.get(f"{prefix}.{name}.weight")[:, :, 0, 0].T
        return shift(net.limit(x) @ weight + net.get(f"{prefix}.{name}.bias", 32), 16)

    linear, enter = causal("linear"), causal("enter")
    inner = [causal(f"blocks.{k}.inner") for k in range(blocks)]
    pixels, rows = (
        np.zeros((shape.height, shape.width, shape.colours), np.int64),
        np.arange(shape.height),
    )
    for number in range(shape.width + (reach + 1) * (shape.height - 1)):
        columns = number - (reach + 1) * rows
        there = (columns >= 0) & (columns < shape.width)
        if not there.any():
            continue
        y, x = rows[there], columns[there]
        now = (y + reach) * wide + x + reach
        pivot = linear.at(now) + (0 if base is None else base[:, y, x].T)
        hidden = enter.at(now) + (0 if features is None else features[:, y, x].T)
        for k, layer in enumerate(inner):
            layer.maps[now] = net.limit(net.leaky(hidden))
            hidden = hidden + pointwise(f"blocks.{k}.outer", net.leaky(layer.at(now)))
        parameters = pointwise("head.project", net.leaky(hidden))
        found = pop_pixels(stack, mixture_parameters(pivot, parameters, shape.colours), shape.bits)
        pixels[y, x] = found
        values = (np.broadcast_to(found, (len(y), 3)) * shape.step - 128) * ONE
        linear.maps[now] = net.limit(values)
        seen = [shift(values, 6), shift(values - pivot, 4), np.full((len(y), 1), ONE)]
        enter.maps[now] = net.limit(np.concatenate(seen, 1))
    return pixels


def residual(net: Net, name: str, x: Array) -> Array:
    """A residual block."""
    hidden = net.leaky(net.conv(f"{name}.inner", net.leaky(x)))
    return x + net.conv(f"{name}.outer", hidden)


def enlarge(x: Array, factor: int) -> Array:
    """Every value as a square of equal ones."""
    return x.repeat(factor, 1).repeat(factor, 2)


class Known(NamedTuple):
    """What is known before a level: features, picture so far, mean and scale of the prior."""

    hidden: Array
    base: Array
    loc: Array
    scale: Array


class PixelLadder:
    """The pixel ladder: latents, none or some levels, and pixels."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Array]) -> None:
        self.net, self.strides = Net(tensors, True), list(config.get("strides", (16, 8, 4, 2)))
        self.levels, self.stride = len(self.strides), max(self.strides, default=1)
        self.causal = "context_network.enter.weight" in tensors

    def start(self, height: int, width: int) -> tuple[Array, Array]:
        """The state before the first level: features, and the picture so far."""
        size = (-(-height // self.stride), -(-width // self.stride))
        return np.full((1, *size), ONE), np.zeros((3, *size))

    def prior(self, level: int, state: tuple[Array, Array]) -> Known:
        """What is known before a level."""
        net, name, (hidden, base) = self.net, f"rungs.{level}", state
        hidden = net.conv(f"{name}.enter", hidden)
        if level and self.strides[level - 1] > self.strides[level]:
            hidden, base = unfold(hidden, 2), enlarge(base, 2)
        hidden = residual(net, f"{name}.block", hidden + net.conv(f"{name}.look", shift(base, 6)))
        loc, log_scale = np.split(net.conv(f"{name}.prior_head.project", net.leaky(hidden)), 2)
        return Known(hidden, base, loc, exact_exp(log_scale))

    def take_in(self, level: int, known: Known, latent: Array) -> tuple[Array, Array]:
        """The state after a level, whose latent has units of 2^-16."""
        net, name = self.net, f"rungs.{level}"
        seen = np.concatenate([net.asinh(latent), shift(latent, 4)])
        step = np.floor(exact_exp(net.get(f"{name}.log_step")) * ONE + 0.5)
        move = shift(latent[:3] * step, 16)
        return known.hidden + net.conv(f"{name}.inject", seen), known.base + move

    def climb(self, pixels: Array, shape: Shape) -> list[tuple[Array, Array]]:
        """Bottom-up features and mean colours of a picture, top level first."""
        net, stride = self.net, self.stride
        down, right = -shape.height % stride, -shape.width % stride
        steps = np.pad(pixels.transpose(2, 0, 1), ((0, 0), (0, down), (0, right)), "edge")
        x = np.broadcast_to((steps * shape.step - 128) * ONE, (3, *steps.shape[1:]))
        hidden = net.conv("climber.enter", fold(shift(x, 6), self.strides[-1]))
        features = [residual(net, "climber.blocks.0", hidden)]
        for depth in range(1, self.levels):
            hidden = features[-1]
            if self.strides[-1 - depth] > self.strides[-depth]:
                hidden = fold(hidden, 2)
            hidden = net.conv(f"climber.ups.{depth - 1}", hidden)
            features.append(residual(net, f"climber.blocks.{depth}", hidden))
        pictures = [
            np.floor(fold(x, s).reshape(3, s * s, x.shape[1] // s, -1).mean(1) + 0.5)
            for s in self.strides
        ]
        return list(zip(features[::-1], pictures, strict=True))

    def posterior(
        self, level: int, known: Known, feature: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """Mean and log-scale of the latent, standardised by its prior, units of 2^-16."""
        net, name = self.net, f"rungs.{level}"
        merged = net.conv(f"{name}.merge", np.concatenate([known.hidden, feature[0]]))
        distance = net.conv(f"{name}.posterior_head.project", net.leaky(merged))
        step = np.floor(exact_exp(-net.get(f"{name}.log_step")) * ONE + 0.5)
        distance[:3] += shift((feature[1] - known.base) * step, 16) - known.loc[:3]
        variance = known.scale * known.scale + 1
        mean = np.floor(known.scale / variance * distance + 0.5)
        return mean, -shift(exact_log(variance), 1)

    def pop(self, stack: Stack, state: Any, shape: Shape) -> Array:
        """The samples of a tile, given the state after the last level."""
        net, base, parameters = self.net, None, None
        if self.levels:
            hidden, stride = net.leaky(residual(net, "last", state[0])), self.strides[-1]
            out = unfold(net.conv("leave.project", hidden), stride)[
                :, : shape.height, : shape.width
            ]
            known = enlarge(state[1], stride)[:, : shape.height, : shape.width]
            base, parameters = known + 16 * out[:3], out[3:]
        if self.causal:
            return pop_causal(net, stack, shape, base, parameters)
        assert base is not None
        assert parameters is not None
        flat = [part.reshape(len(part), -1).T for part in (base, parameters)]
        found = pop_pixels(stack, mixture_parameters(flat[0], flat[1], shape.colours), shape.bits)
        return found.reshape(shape.height, shape.width, shape.colours)


class Dense:
    """One level of latents under N(0, 1) for each cell of a bilevel picture."""

    levels = 1

    def __init__(self, config: dict[str, Any], tensors: dict[str, Array]) -> None:
        need(config.get("likelihood") == "bernoulli", "a dense model with mixtures: " + ELSEWHERE)
        self.net, self.side = Net(tensors, True), config.get("side", 28)
        self.latents = tensors["decoder.layers.0.weight"].shape[1]

    def start(self, height: int, width: int) -> tuple[Array, Array]:
        """One latent vector for each cell."""
        size = np.zeros((self.latents, -(-height // self.side), -(-width // self.side)))
        return size, size

    def prior(self, level: int, state: tuple[Array, Array]) -> Known:
        """N(0, 1)."""
        return Known(state[0], state[1], state[1], np.ones_like(state[1]))

    def take_in(self, level: int, known: Known, latent: Array) -> tuple[Array, Array]:
        """The latent is all that counts."""
        return latent, known.base

    def dense(self, name: str, x: Array) -> Array:
        """Linear layers with leaky ReLUs in between."""
        x, k = self.net.linear(f"{name}.layers.0", x), 1
        while self.net.has(f"{name}.layers.{k}.weight"):
            x, k = self.net.linear(f"{name}.layers.{k}", self.net.leaky(x)), k + 1
        return x

    def cells(self, x: Array, side: int) -> list[Array]:
        """The cells of maps, row by row."""
        rows, columns = x.shape[1] // side, x.shape[2] // side
        parts = x.reshape(-1, rows, side, columns, side).transpose(1, 3, 0, 2, 4)
        return list(parts.reshape(rows * columns, -1))

    def joined(self, cells: list[Array], like: Array) -> Array:
        """Cells `(channels, side, side)` as maps; `like` has one place for each."""
        (rows, columns), (channels, side, _) = like.shape[1:], cells[0].shape
        parts = np.array(cells).reshape(rows, columns, channels, side, side)
        return parts.transpose(2, 0, 3, 1, 4).reshape(channels, rows * side, columns * side)

    def climb(self, pixels: Array, shape: Shape) -> list[tuple[Array, Array]]:
        """Means and log-scales of all cells."""
        down, right = -shape.height % self.side, -shape.width % self.side
        steps = np.pad(pixels.transpose(2, 0, 1), ((0, 0), (0, down), (0, right)), "edge")
        cells = self.cells((steps * shape.step - 128) * (ONE / 128), self.side)
        out = [self.dense("encoder", cell)[:, None, None] for cell in cells]
        mean, log_scale = np.split(self.joined(out, self.start(shape.height, shape.width)[0]), 2)
        return [(mean, np.clip(log_scale, -3.5 * ONE, ONE))]

    def posterior(
        self, level: int, known: Known, feature: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """Of the latent, as `climb` found it."""
        return feature

    def pop(self, stack: Stack, state: Any, shape: Shape) -> Array:
        """The samples of a tile."""
        net, half, out = self.net, self.side // 2, []
        for cell in self.cells(state[0], 1):
            planes = self.dense("decoder", cell).reshape(-1, half, half)
            hidden = net.conv("planes.enter", net.leaky(planes))
            hidden = net.leaky(residual(net, "planes.block", hidden))
            out.append(unfold(net.conv("planes.leave.project", hidden), 2))
        logits = self.joined(out, state[0])[0, : shape.height, : shape.width]
        white = 1 if shape.bits == 1 else 255
        found = pop_bernoulli(stack, whole(logits.reshape(-1))) * white
        return found.reshape(shape.height, shape.width, 1)
