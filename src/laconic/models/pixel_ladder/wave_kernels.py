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

from laconic.compiled import compiled, inlined
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


@inlined
def _rounded(x: float, bits: int) -> float:
    """`arithmetic.shift` of one number."""
    rounded: float = np.floor(x * 2.0**-bits + 0.5)
    return rounded


@inlined
def _limited(x: float, limit: float) -> float:
    return min(max(x, -limit), limit)


@inlined
def _leaky(x: float) -> float:
    """`arithmetic.leaky_relu` of one number."""
    return max(x, _rounded(max(x, -LIMIT) * LEAK_UNITS, FRACTION_BITS))


@inlined
def _multiply(x: Floats, layers: Convolutions, layer: int, out: Floats) -> None:
    """`out = round(bias + x @ weight)`, `(n, in)` -> `(n, out)`; sums are exact in any order."""
    begin(layers.bias[layer], out)
    add_product(x, layers.weight[layer], out)
    _round(out)


@inlined
def _round(sums: Floats) -> None:
    """Sums of products to units, in place."""
    for i in range(sums.shape[0]):
        for o in range(sums.shape[1]):
            sums[i, o] = _rounded(sums[i, o], WEIGHT_BITS)


@inlined
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


@inlined
def _gather(ring: Floats, margin: int, taps: Taps, wave: Wave, out: Floats) -> None:
    """What the taps see in one image's ring, few channels: `(n, taps * channels)`."""
    channels = ring.shape[2]
    for t in range(taps.rows.size):
        slot = ring[(wave.number + taps.waves[t]) % ring.shape[0]]
        first = margin + wave.first + taps.rows[t]
        for i in range(wave.size):
            for k in range(channels):
                out[i, t * channels + k] = slot[first + i, k]


@inlined
def _limit(x: Floats) -> None:
    """Activate and limit in place."""
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            x[i, k] = _limited(_leaky(x[i, k]), LIMIT)


@inlined
def _forget(ring: Floats, margin: int, number: int, slope: int, width: int) -> None:
    """Zeros in a wave's slot of one image, where an earlier wave of the same slot was."""
    slots = ring.shape[0]
    old = number - slots
    first = max(0, -((width - 1 - old) // slope))
    last = min(ring.shape[1] - margin - 1, old // slope)
    if old >= 0 and first <= last:
        ring[number % slots, margin + first : margin + last + 1] = 0


@compiled(also=_ALSO, nogil=True, error_model="numpy")
def forget(rings: Rings, margin: int, number: int, slope: int, width: int) -> None:
    """Make room for a wave; `slope` and `width` are those of `CausalLikelihood`."""
    for image in range(rings.pixels.shape[0]):
        _forget(rings.pixels[image], margin, number, slope, width)
        _forget(rings.seen[image], margin, number, slope, width)
        for block in range(rings.hidden.shape[0]):
            _forget(rings.hidden[block, image], margin, number, slope, width)


@compiled(also=_ALSO, nogil=True, error_model="numpy", fastmath={"contract"})
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

    All sums of products are exact, so that it does not matter whether they are contracted. `base`
    and `features`, `(images, n, channels)`: the latents' shares. Outputs of `linear` and `head`
    beyond those of the network are 0.
    """
    width = network.head.weight.shape[1]
    far = network.far.rows.size
    narrow, wide = np.empty((wave.size, 3 * far)), np.empty((wave.size, 7 * far))
    hidden = np.empty((wave.size, width))
    inner, outer = np.empty_like(hidden), np.empty_like(hidden)
    top, end = margin + wave.first, margin + wave.first + wave.size
    for image in range(rings.pixels.shape[0]):
        _gather(rings.pixels[image], margin, network.far, wave, narrow)
        _multiply(narrow, network.linear, 0, pivots[image])
        pivots[image, :, :3] += base[image]
        _gather(rings.seen[image], margin, network.far, wave, wide)
        _multiply(wide, network.enter, 0, hidden)
        hidden += features[image]
        for block in range(rings.hidden.shape[0]):
            ring = rings.hidden[block, image]
            own = ring[wave.number % ring.shape[0], top:end]
            own[:] = hidden
            _limit(own)
            _convolve(ring, margin, network.near, wave, network.inner, block, inner)
            _limit(inner)
            _multiply(inner, network.outer, block, outer)
            hidden += outer
        _limit(hidden)
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

    Products with couplings may be rounded, so nothing is contracted here.
    """
    count = logits.shape[3]
    for image, i in np.ndindex(logits.shape[0], logits.shape[1]):
        own, centre = parameters[image, i], pivots[image, i]
        for colour in range(logits.shape[2]):
            for k in range(count):
                at = colour * count + k
                coupled = own[9 * count + k] * centre[0]
                if colour == 2:
                    coupled = own[10 * count + k] * centre[0]
                    coupled += own[11 * count + k] * centre[1]
                shift = _rounded(coupled, FRACTION_BITS) if colour else 0.0
                mean = CENTRE * _ONE + centre[colour]
                mean = mean + 2.0**FINE_BITS * own[3 * count + at] - shift
                width = max(own[6 * count + at] + _ONE, LEAST_LOG_SCALE * _ONE)
                logits[image, i, colour, k] = np.int32(_limited(own[at], _LARGEST))
                means[image, i, colour, k] = np.int32(_limited(mean, _LARGEST))
                log_scales[image, i, colour, k] = np.int32(_limited(width, _LARGEST))
                if couplings.shape[2]:
                    coupling = _limited(own[9 * count + at], _LARGEST)
                    couplings[image, i, colour, k] = np.int32(coupling)
