"""Signs of kernels: beside a slow coder that follows docs/format.md, and what they save."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.tensors import quantised
from laconic.coding.tensors.kernels_signs import CONTEXTS, OCTAVES
from laconic.errors import CorruptFileError


def smooth(count: int, side: int, scale: float, seed: int = 0) -> np.ndarray:
    """Kernels whose neighbours are alike, `(count, side, side)`."""
    noise = np.random.default_rng(seed).normal(size=(count, side + 1, side + 1))
    blurred = noise[:, 1:, 1:] + noise[:, :-1, 1:] + noise[:, 1:, :-1] + noise[:, :-1, :-1]
    return np.rint(scale * blurred).astype(np.int64)


def slow(q: np.ndarray) -> bytes:
    """The same message, symbol by symbol, in Python's own integers."""
    stream, counts = QueueEncoder(), [[1, 1] for _ in range(OCTAVES)]
    mean = min(16 * int(np.abs(q).sum()) // q.size, 1 << 24)
    for kernel in q.tolist():
        for y, row in enumerate(kernel):
            for x, value in enumerate(row):
                left = row[x - 1] if x else 0
                above = kernel[y - 1][x] if y else 0
                corner = kernel[y - 1][x - 1] if x and y else 0
                predicted = 2 * (left + above) - corner
                if value and not predicted:
                    stream.uniform([int(value < 0)], 2)
                elif value:
                    sizes = min(abs(predicted), 1 << 20) * min(abs(value), 1 << 20)
                    z = sizes * 2**14 // 2 ** (mean * mean).bit_length()
                    own = counts[min(OCTAVES - 1, int(math.log2(z)) if z > 1 else 0)]
                    share = own[0] * (2**24 // sum(own))
                    differs = int((value < 0) != (predicted < 0))
                    split(stream, differs, share)
                    full = sum(own) >= 256
                    own[differs] += 2
                    if full:
                        own[:] = [(n + 1) // 2 for n in own]
    return stream.finish()


def split(stream: QueueEncoder, symbol: int, share: int) -> None:
    """One symbol whose 0 has `share` of 2^24: the range coder's definition, word by word."""
    lower, extent, count = (int(part) for part in stream._state)
    scale = extent >> 24
    lower += scale * share if symbol else 0
    extent = scale * (2**24 - share if symbol else share)
    words = [int(word) for word in stream._room(1)[:count]]
    if lower >> 64:
        whole = int.from_bytes(b"".join(word.to_bytes(4, "big") for word in words)) + 1
        data = whole.to_bytes(4 * count)
        words = [int.from_bytes(data[4 * i : 4 * i + 4]) for i in range(count)]
        lower &= 2**64 - 1
    if extent < 2**32:
        words.append(lower >> 32)
        lower, extent = lower << 32 & (2**64 - 1), extent << 32
    stream._room(1)[: len(words)] = words
    stream._state[:] = lower, extent, len(words)


def fast(q: np.ndarray) -> QueueEncoder:
    stream = QueueEncoder()
    stream.signs(q, np.ones((CONTEXTS, 2), np.int64))
    return stream


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 6), st.floats(0.1, 1e8), st.integers(0, 1000))
def test_the_compiled_coder_follows_the_format(
    count: int, side: int, scale: float, seed: int
) -> None:
    q = smooth(count, side, scale, seed)
    stream = fast(q)
    assert stream.finish() == slow(q)
    sizes, reader = np.abs(q), QueueDecoder(stream.finish())
    reader.signs(sizes, np.ones((CONTEXTS, 2), np.int64))
    assert np.array_equal(sizes, q)
    assert reader.bits == pytest.approx(stream.bits, abs=1e-3)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 7), st.floats(0.1, 1e7),
    st.integers(0, 1000),
)  # fmt: skip
def test_matrices_of_kernels_come_back(
    outputs: int, inputs: int, side: int, scale: float, seed: int
) -> None:
    q = smooth(outputs * inputs, side, scale, seed).reshape(outputs, -1)
    stream, contexts = QueueEncoder(), quantised.Contexts()
    for one in (q, -q):
        quantised.write(stream, one, contexts, (side, side))
    reader, again = QueueDecoder(stream.finish()), quantised.Contexts()
    for one in (q, -q):
        assert np.array_equal(quantised.read(reader, q.shape, again, (side, side)), one)


def test_signs_of_smooth_kernels_cost_less_and_noise_is_left_alone() -> None:
    """Blurred noise: neighbours correlate by 1/2; the bound below is what 2 x 2 sums allow."""
    q = smooth(4096, 3, 1.0)
    matrix, kernel = q.reshape(64, -1), (3, 3)
    assert quantised.signs_are_predictable(matrix, kernel)
    signs = int(np.count_nonzero(q))
    assert fast(q).bits < 0.8 * signs
    plain, predicted = QueueEncoder(), QueueEncoder()
    quantised.write(plain, matrix, quantised.Contexts())
    quantised.write(predicted, matrix, quantised.Contexts(), kernel)
    assert predicted.bits - plain.bits == pytest.approx(fast(q).bits - signs, abs=1)
    noise = np.random.default_rng(0).integers(-3, 4, matrix.shape)
    assert not quantised.signs_are_predictable(noise, kernel)
    assert not quantised.signs_are_predictable(matrix, (1, 1))
    assert not quantised.signs_are_predictable(matrix[:0], kernel)
    counts = np.ones((CONTEXTS, 2), np.int64)
    stream = QueueEncoder()
    stream.signs(noise.reshape(-1, 3, 3), counts)
    assert stream.bits < 1.01 * np.count_nonzero(noise)


def test_a_message_that_ends_is_noticed() -> None:
    q = smooth(2000, 3, 2.0)
    data = fast(q).finish()
    with pytest.raises(CorruptFileError, match="damaged"):
        QueueDecoder(data[: len(data) // 2]).signs(np.abs(q), np.ones((CONTEXTS, 2), np.int64))
