"""The causal network at the pixels of one wave, in integers: compiled, without Python in between.

What earlier waves have left is kept in rings: `(images, slots, margin + rows, channels)`. Wave w of
an image has slot `w % slots`, with as many slots as waves are looked back on; the pixel of row r in
it has column `w - slope * r`. So the pixels of a wave, and those that a tap sees of an earlier one,
lie one after the other. The first `margin` rows are those above the image; they stay zero, and so
does every place outside it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from laconic.compiled import compiled, helper
from laconic.distributions.logistic_mixture import CENTRE, LEAST_LOG_SCALE
from laconic.models.pixel_ladder.causal import FINE_BITS, SPREAD_BITS
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS, LEAK_UNITS, LIMIT, WEIGHT_BITS
from laconic.networks.fixed_point.product import add_product, begin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Parameters = NDArray[np.int32]

_ONE = 2.0**FRACTION_BITS
_LARGEST = 2.0**30
"""As `models.exact.to_integers` limits them."""
_ALSO = ("networks", "distributions")


class Taps(NamedTuple):
    """Where a kernel looks.

    Attributes:
        waves: `(taps,)`: how many waves each tap looks ahead, 0 or less.
        rows: `(taps,)`: how many rows, 0 or less.
    """

    waves: Ints
    rows: Ints


class Convolutions(NamedTuple):
    """Convolutions of one size in integers, see `FixedConvolution`.

    Attributes:
        weight: `(layers, taps * in, out)`.
        bias: `(layers, out)`.
    """

    weight: Floats
    bias: Floats


class Network(NamedTuple):
    """The causal network, see `CausalContext`.

    Attributes:
        far: taps of `linear` and `enter`.
        near: taps of `inner`.
        linear: predicts the pivot.
        enter: the first layer.
        inner: of every block.
        outer: of every block.
        head: gives the parameters.
    """

    far: Taps
    near: Taps
    linear: Convolutions
    enter: Convolutions
    inner: Convolutions
    outer: Convolutions
    head: Convolutions


class Wave(NamedTuple):
    """The pixels of a wave.

    Attributes:
        number: of the wave.
        first: its first row.
        size: its pixels.
    """

    number: int
    first: int
    size: int


class Rings(NamedTuple):
    """What is known of earlier waves.

    Attributes:
        pixels: around 0, `(images, slots, margin + rows, 3)`.
        seen: what the first layer sees, the same with 7 channels.
        hidden: what each block sees, `(blocks, images, slots, margin + rows, width)`; its slots are
            fewer, since its kernel is smaller.
    """

    pixels: Floats
    seen: Floats
    hidden: Floats


@helper
def _rounded(x: float, bits: int) -> float:
    """`arithmetic.shift` of one number."""
    rounded: float = np.floor(x * 2.0**-bits + 0.5)
    return rounded


@helper
def _limited(x: float, limit: float) -> float:
    return min(max(x, -limit), limit)


@helper
def _leaky(x: float) -> float:
    """`arithmetic.leaky_relu` of one number."""
    return max(x, _rounded(max(x, -LIMIT) * LEAK_UNITS, FRACTION_BITS))


@helper
def _multiply(x: Floats, layers: Convolutions, layer: int, out: Floats) -> None:
    """`out = round(bias + x @ weight)`, `(n, in)` -> `(n, out)`; sums are exact in any order."""
    begin(layers.bias[layer], out)
    add_product(x, layers.weight[layer], out)
    _round(out)


@helper
def _round(sums: Floats) -> None:
    """Sums of products to units, in place."""
    for i in range(sums.shape[0]):
        for o in range(sums.shape[1]):
            sums[i, o] = _rounded(sums[i, o], WEIGHT_BITS)


@helper
def _convolve(
    ring: Floats, margin: int, taps: Taps, wave: Wave, layers: Convolutions, layer: int, out: Floats
) -> None:
    """A layer at a wave, tap by tap: what a tap sees in one image's ring lies together."""
    channels = ring.shape[2]
    begin(layers.bias[layer], out)
    for t in range(taps.rows.size):
        slot = ring[(wave.number + taps.waves[t]) % ring.shape[0]]
        first = margin + wave.first + taps.rows[t]
        weight = layers.weight[layer, t * channels : (t + 1) * channels]
        add_product(slot[first : first + wave.size], weight, out)
    _round(out)


@helper
def _gather(ring: Floats, margin: int, taps: Taps, wave: Wave, out: Floats) -> None:
    """What the taps see in one image's ring, few channels: `(n, taps * channels)`."""
    channels = ring.shape[2]
    for t in range(taps.rows.size):
        slot = ring[(wave.number + taps.waves[t]) % ring.shape[0]]
        first = margin + wave.first + taps.rows[t]
        for i in range(wave.size):
            for k in range(channels):
                out[i, t * channels + k] = slot[first + i, k]


@helper
def _limit(x: Floats, out: Floats) -> None:
    """Activate and limit, `(n, channels)` -> the same shape."""
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            out[i, k] = _limited(_leaky(x[i, k]), LIMIT)


@helper
def _add(x: Floats, out: Floats) -> None:
    """Add to the first channels of `out`."""
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            out[i, k] += x[i, k]


@helper
def _forget(ring: Floats, margin: int, number: int, slope: int, width: int) -> None:
    """Zeros in a wave's slot of one image, where an earlier wave of the same slot was."""
    slots = ring.shape[0]
    old = number - slots
    first = max(0, -((width - 1 - old) // slope))
    last = min(ring.shape[1] - margin - 1, old // slope)
    if old >= 0:
        slot = ring[number % slots]
        for row in range(margin + first, margin + last + 1):
            for k in range(slot.shape[1]):
                slot[row, k] = 0


@compiled(also=_ALSO, nogil=True, error_model="numpy")
def forget(rings: Rings, margin: int, number: int, slope: int, width: int) -> None:
    """Make room for a wave; `slope` and `width` are those of `CausalLikelihood`."""
    for image in range(rings.pixels.shape[0]):
        _forget(rings.pixels[image], margin, number, slope, width)
        _forget(rings.seen[image], margin, number, slope, width)
        for block in range(rings.hidden.shape[0]):
            _forget(rings.hidden[block, image], margin, number, slope, width)


@compiled(also=_ALSO, nogil=True, error_model="numpy")
def look(
    network: Network,
    rings: Rings,
    margin: int,
    wave: Wave,
    base: Floats,
    features: Floats,
    pivots: Floats,
    parameters: Floats,
) -> None:
    """Fill pivots and parameters, `(images, n, outputs)`, of a wave whose past is known.

    `base` and `features`, `(images, n, channels)`: the latents' shares. Outputs of `linear` and
    `head` beyond those of the network are 0.
    """
    width = network.head.weight.shape[1]
    far = network.far.rows.size
    narrow, wide = np.empty((wave.size, 3 * far)), np.empty((wave.size, 7 * far))
    hidden = np.empty((wave.size, width))
    inner, outer = np.empty((wave.size, width)), np.empty((wave.size, width))
    top, end = margin + wave.first, margin + wave.first + wave.size
    for image in range(rings.pixels.shape[0]):
        _gather(rings.pixels[image], margin, network.far, wave, narrow)
        _multiply(narrow, network.linear, 0, pivots[image])
        _add(base[image], pivots[image])
        _gather(rings.seen[image], margin, network.far, wave, wide)
        _multiply(wide, network.enter, 0, hidden)
        _add(features[image], hidden)
        for block in range(rings.hidden.shape[0]):
            ring = rings.hidden[block, image]
            own = ring[wave.number % ring.shape[0], top:end]
            _limit(hidden, own)
            _convolve(ring, margin, network.near, wave, network.inner, block, inner)
            _limit(inner, inner)
            _multiply(inner, network.outer, block, outer)
            _add(outer, hidden)
        _limit(hidden, hidden)
        _multiply(hidden, network.head, 0, parameters[image])


@compiled(also=_ALSO, nogil=True, error_model="numpy")
def learn(rings: Rings, margin: int, wave: Wave, values: Floats, pivots: Floats) -> None:
    """Take in the pixels of a wave, `(images, n, colours)` in steps, see `CausalContext.seen`."""
    slot = wave.number % rings.pixels.shape[1]
    for image in range(values.shape[0]):
        for i in range(wave.size):
            row = margin + wave.first + i
            pixel, seen = rings.pixels[image, slot, row], rings.seen[image, slot, row]
            for k in range(3):
                x = (values[image, i, k if values.shape[2] > 1 else 0] - CENTRE) * _ONE
                pixel[k] = _limited(x, LIMIT)
                seen[k] = _limited(_rounded(x, SPREAD_BITS), LIMIT)
                seen[3 + k] = _limited(_rounded(x - pivots[image, i, k], FINE_BITS), LIMIT)
            seen[6] = _ONE


@compiled(also=_ALSO, nogil=True, error_model="numpy")
def mixtures(
    pivots: Floats,
    parameters: Floats,
    logits: Parameters,
    means: Parameters,
    log_scales: Parameters,
    couplings: Parameters,
) -> None:
    """Fill what coders take, `(images, n, colours, K)` each, as `waves.mixture_parameters`.

    Sums of products with couplings may be rounded: a product must not be contracted with a sum.
    """
    count = logits.shape[3]
    for image in range(logits.shape[0]):
        for i in range(logits.shape[1]):
            own, centre = parameters[image, i], pivots[image, i]
            for colour in range(logits.shape[2]):
                for k in range(count):
                    at = colour * count + k
                    width = max(own[6 * count + at] + _ONE, LEAST_LOG_SCALE * _ONE)
                    logits[image, i, colour, k] = _integer(own[at])
                    means[image, i, colour, k] = _integer(_mean(own, centre, colour, k, count))
                    log_scales[image, i, colour, k] = _integer(width)
                    if couplings.shape[2]:
                        couplings[image, i, colour, k] = _integer(own[9 * count + at])


@helper
def _integer(x: float) -> np.int32:
    return np.int32(_limited(x, _LARGEST))


@helper
def _mean(own: Floats, centre: Floats, colour: int, k: int, count: int) -> float:
    """Of component k, its share of the couplings taken off; see `causal.components`."""
    coupled = 0.0
    if colour == 1:
        coupled = own[9 * count + k] * centre[0]
    elif colour == 2:
        coupled = own[10 * count + k] * centre[0] + own[11 * count + k] * centre[1]
    mean = CENTRE * _ONE + centre[colour] + 2.0**FINE_BITS * own[(3 + colour) * count + k]
    shifted: float = mean - _rounded(coupled, FRACTION_BITS)
    return shifted
