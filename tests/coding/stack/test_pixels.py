import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, ndtr, softmax

from laconic.coding.stack.ans import TOTAL, Stack
from laconic.coding.stack.pixels import ColourMixture, GaussianMixture, LogisticMixture
from laconic.errors import CodingError
from laconic.testing.stacks import check_draw, check_inverse, seeded_stack

Array = np.ndarray

one_channel = pytest.mark.parametrize(
    ("codec", "cdf"),
    [(LogisticMixture, expit), (GaussianMixture, ndtr)],
    ids=["logistic", "normal"],
)
parameter = st.integers(-(2**24), 2**24) | st.sampled_from(
    [0, 1, -1, 2**31 - 1, -(2**31), 2**62, -(2**62), 65536 * 128, 32768]
)


def units(x: Array) -> Array:
    return np.round(65536 * x).astype(np.int32)


def exact_bits(
    x: Array, logits: Array, means: Array, log_scales: Array, cdf: object, levels: int = 256
) -> Array:
    """-log2 p(x), float64, parameters `(..., components)` in units of 2^-16."""
    assert callable(cdf)
    step = min(1.0, 256 / levels)
    slopes = np.exp(-log_scales / 65536)
    edges = (np.stack([x, x + 1]) - 0.5)[..., None] * step
    low, high = (edges - means / 65536) * slopes
    low = np.where(x[..., None] == 0, -np.inf, low)
    high = np.where(x[..., None] == levels - 1, np.inf, high)
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)
    return -np.log2((softmax(logits / 65536, -1) * (cdf(high) - cdf(low))).sum(-1))


def photographic(shape: tuple[int, ...], components: int, seed: int) -> tuple[Array, ...]:
    """Logits, means, log-scales as a network gives them, and noise of unit scale's symbols."""
    rng = np.random.default_rng(seed)
    full = (*shape, components)
    logits = units(rng.normal(0, 1, full))
    means = units(rng.uniform(0, 255, (*shape, 1)) + rng.normal(0, 6, full))
    log_scales = units(rng.normal(1, 0.7, full))
    return logits, means, log_scales


def draw(
    logits: Array, means: Array, log_scales: Array, seed: int, levels: int, logistic: bool
) -> Array:
    """Symbols from a mixture by float arithmetic."""
    rng = np.random.default_rng(seed)
    gumbel = rng.gumbel(size=logits.shape)
    chosen = np.argmax(logits / 65536 + gumbel, -1)[..., None]
    mean = np.take_along_axis(means, chosen, -1)[..., 0] / 65536
    scale = np.exp(np.take_along_axis(log_scales, chosen, -1)[..., 0] / 65536)
    noise = rng.logistic(size=mean.shape) if logistic else rng.normal(size=mean.shape)
    steps = max(1, levels // 256)
    return np.clip(np.round((mean + scale * noise) * steps), 0, levels - 1).astype(np.int64)


@one_channel
@pytest.mark.parametrize(("levels", "heads"), [(256, 1), (256, 8), (65536, 1)])
def test_length_is_the_information(codec: type, cdf: object, levels: int, heads: int) -> None:
    parameters = photographic((50000,), 3, 0)
    x = draw(*parameters, 1, levels, codec is LogisticMixture)
    length = check_inverse(codec(*parameters, levels), x, Stack(heads))
    information = np.minimum(exact_bits(x, *parameters, cdf, levels), 28)
    assert length == pytest.approx(information.sum(), rel=1e-3)


@one_channel
def test_a_few_levels(codec: type, cdf: object) -> None:
    logits, means, log_scales = photographic((20000,), 2, 0)
    means //= 64
    log_scales -= 65536
    x = np.clip(draw(logits, means, log_scales, 1, 256, codec is LogisticMixture), 0, 4)
    length = check_inverse(codec(logits, means, log_scales, 5), x, Stack())
    information = exact_bits(x, logits, means, log_scales, cdf, 5)
    assert length == pytest.approx(information.sum(), rel=1e-3)


@one_channel
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_parameters(codec: type, cdf: object, data: st.DataObject) -> None:
    size, components = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    levels = data.draw(st.sampled_from([2, 3, 255, 256, 1024, 65536]))
    count = size * components
    arrays = [
        np.array(data.draw(st.lists(parameter, min_size=count, max_size=count)), np.int64).reshape(
            size, components
        )
        for _ in range(3)
    ]
    x = data.draw(st.lists(st.integers(0, levels - 1), min_size=size, max_size=size))
    heads = data.draw(st.sampled_from([1, 8]))
    mixture = codec(*arrays, levels)
    assert check_inverse(mixture, x, seeded_stack(10, heads)) <= 28.1 * size
    check_draw(mixture, seeded_stack(100, heads))


@one_channel
@pytest.mark.parametrize("levels", [2, 256, 65536])
def test_every_symbol_has_an_interval(codec: type, cdf: object, levels: int) -> None:
    """Means far out, scales from nothing to everything: no symbol is lost."""
    x = np.arange(levels)
    for mean in (-(2**31), -1, 0, 128 * 65536 + 32768, 2**31 - 1):
        for log_scale in (-(2**31), -10 * 65536, 0, 5 * 65536, 2**31 - 1):
            logits = np.tile([0, -(2**31), 2**31 - 1], (levels, 1))
            means = np.tile([mean, 65536, mean // 2], (levels, 1))
            log_scales = np.tile([log_scale, 0, -log_scale // 3], (levels, 1))
            if levels < 65536 or (mean + log_scale) % 3 == 0:
                check_inverse(codec(logits, means, log_scales, levels), x, Stack())


def test_probabilities_add_up() -> None:
    """Lengths of all 256 symbols: the probabilities sum to 1 within the stack's rounding."""
    logits, means, log_scales = photographic((1,), 3, 5)
    everywhere = [np.repeat(array, 256, 0) for array in (logits, means, log_scales)]
    x = np.arange(256)
    exact = exact_bits(x, *everywhere, expit)
    total = 0.0
    for symbol in range(256):
        codec = LogisticMixture(
            *(np.repeat(array, 400, 0) for array in (logits, means, log_scales))
        )
        bits = check_inverse(codec, np.full(400, symbol), Stack()) / 400
        total += 2**-bits
        assert 2**-bits == pytest.approx(2 ** -exact[symbol], rel=0.005, abs=2.5 / TOTAL)
    assert total == pytest.approx(1, abs=2e-3)


def colour(count: int, components: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(3)
    couplings = units(rng.uniform(-0.5, 0.9, (count, 3, components)))
    return *photographic((count, 3), components, 2), couplings


def shifted(means: Array, couplings: Array, x: Array) -> Array:
    """Means given the channels before, by the definition."""
    red, green = (x[:, i, None].astype(np.int64) - 128 for i in (0, 1))
    out = means.astype(np.int64)
    out[:, 1] += couplings[:, 0] * red
    out[:, 2] += couplings[:, 1] * red + couplings[:, 2] * green
    return out


def colour_pixels(parameters: tuple[Array, ...]) -> Array:
    logits, means, log_scales, couplings = parameters
    x = np.full((len(logits), 3), 128)
    for channel in range(3):
        given_before = shifted(means, couplings, x)
        x[:, channel] = draw(logits, given_before, log_scales, channel, 256, True)[:, channel]
    return x


@pytest.mark.parametrize("heads", [1, 8])
def test_colour_length_is_the_information(heads: int) -> None:
    parameters = colour(20000, 3)
    logits, means, log_scales, couplings = parameters
    x = colour_pixels(parameters)
    length = check_inverse(ColourMixture(*parameters), x, Stack(heads))
    information = exact_bits(x, logits, shifted(means, couplings, x), log_scales, expit)
    assert length == pytest.approx(np.minimum(information, 28).sum(), rel=1e-3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_colour_parameters(data: st.DataObject) -> None:
    size, components = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    count = 3 * size * components
    arrays = [
        np.array(data.draw(st.lists(parameter, min_size=count, max_size=count)), np.int64).reshape(
            size, 3, components
        )
        for _ in range(4)
    ]
    x = data.draw(st.lists(st.integers(0, 255), min_size=3 * size, max_size=3 * size))
    heads = data.draw(st.sampled_from([1, 8]))
    mixture = ColourMixture(*arrays)
    check_inverse(mixture, np.array(x).reshape(size, 3), seeded_stack(10, heads))
    check_draw(mixture, seeded_stack(100, heads))


def test_colour_pops_pixel_by_pixel() -> None:
    """A pixel's codec alone pops what the image's codec pushed: a decoder may go by pieces."""
    parameters = colour(50, 2)
    x = colour_pixels(parameters)
    stack = Stack()
    ColourMixture(*parameters).push(stack, x)
    for start in (0, 7, 8, 49):
        end = {0: 7, 7: 8, 8: 49, 49: 50}[start]
        piece = ColourMixture(*(array[start:end] for array in parameters))
        assert (piece.pop(stack) == x[start:end]).all()
    assert stack.empty


def test_what_cannot_be_is_refused() -> None:
    flat, deep = np.zeros((4, 2), np.int32), np.zeros((4, 3, 2), np.int32)
    for make in (
        lambda: LogisticMixture(flat, flat, flat[:, :1]),
        lambda: LogisticMixture(flat[:3], flat, flat),
        lambda: LogisticMixture(deep, deep, deep),
        lambda: LogisticMixture(flat, flat, flat, 257),
        lambda: LogisticMixture(flat, flat, flat, 1),
        lambda: LogisticMixture(flat, flat, flat, 1 << 17),
        lambda: LogisticMixture(flat, flat / 2, flat),
        lambda: LogisticMixture(flat[:, :0], flat[:, :0], flat[:, :0]),
        lambda: ColourMixture(flat, flat, flat, flat),
        lambda: ColourMixture(deep, deep, deep, deep[:2]),
        lambda: ColourMixture(deep[:, :2], deep[:, :2], deep[:, :2], deep),
    ):
        with pytest.raises(CodingError):
            make()
    with pytest.raises(CodingError, match="outside its alphabet"):
        LogisticMixture(flat, flat, flat).push(Stack(), [0, 1, 2, 256])
    with pytest.raises(CodingError, match="3 symbols where the codec has 4"):
        LogisticMixture(flat, flat, flat).push(Stack(), [0, 1, 2])


def test_golden_bytes() -> None:
    """Parameters by arithmetic alone: these bytes are the format."""
    i = np.arange(60)
    mean, spread = (i * 7919 % 256).reshape(10, 3, 2) << 16, (i * 31 % 40 - 10).reshape(10, 3, 2)
    arrays = (i.reshape(10, 3, 2) * 1000, mean, spread << 12, mean // 512 - 9999)
    pixels = (i[:30] * 101 % 256).reshape(10, 3)
    stack = Stack()
    ColourMixture(*arrays).push(stack, pixels)
    GaussianMixture(*(array[:, 0] for array in arrays[:3]), 65536).push(stack, pixels[:, 0] * 250)
    assert stack.to_bytes().hex() == (
        "4a2d253048e90ecc5bff5fb289003098b7ffdf641900604a47ffef307500f016a3ffcfa715c29370"
        "ffff8fd0b2ffcff8ffff0f5dffff7fc2ffff3f28000000f1ffffbfb90a0010af5c29c085ffff2f50"
        "0000e029010040fefcffffe3ffff8f4eb6ff6f13000080220500b066ffff2f03ffffdf0c00007096"
        "faff0f"
    )
