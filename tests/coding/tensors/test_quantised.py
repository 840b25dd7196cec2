"""Quantised weights: round trips, size against entropy, and quantisation that pays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.tensors import quantised
from laconic.errors import CorruptFileError


def send(*matrices: np.ndarray) -> tuple[list[np.ndarray], float]:
    stream, contexts = QueueEncoder(), quantised.Contexts()
    for q in matrices:
        quantised.write(stream, q, contexts)
    reader, again = QueueDecoder(stream.finish()), quantised.Contexts()
    return [quantised.read(reader, q.shape, again) for q in matrices], stream.bits


@settings(deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.01, 1e7),
    st.integers(0, 1000),
)
def test_every_matrix_comes_back(rows: int, columns: int, scale: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rough = generator.laplace(size=(rows, columns)) * generator.gamma(0.5, size=(1, columns))
    q = np.rint(scale * rough * generator.gamma(0.5, size=(rows, 1))).astype(np.int64)
    (back, twice), _ = send(q, -q)
    assert np.array_equal(back, q)
    assert np.array_equal(twice, -q)


@pytest.mark.parametrize("value", [0, 1, -1, 47, 48, quantised.LARGEST, -quantised.LARGEST])
def test_constant_matrices_cost_little(value: int) -> None:
    q = np.full((100, 300), value)
    (back,), bits = send(q)
    assert np.array_equal(back, q)
    if abs(value) < 2:
        assert bits < 60 + (1.1 if value else 0.1) * q.size


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0, 30.0])
def test_size_is_near_the_entropy(scale: float) -> None:
    """Within 1.5 % for one Gaussian scale: what contexts and learning cost on 200,000 entries."""
    q = np.rint(scale * np.random.default_rng(0).normal(size=(200, 1000))).astype(np.int64)
    shares = np.unique(q, return_counts=True)[1] / q.size
    entropy = -(shares * np.log2(shares)).sum() * q.size
    assert entropy < send(q)[1] < 1.015 * entropy


@pytest.mark.parametrize("density", [0.25, 0.05, 0.01])
def test_noise_is_not_taken_for_structure(density: float) -> None:
    """Sparse, with 16 values that are not 0, all alike: within 3 % of the entropy."""
    generator = np.random.default_rng(0)
    values = generator.choice([*range(-8, 0), *range(1, 9)], size=(300, 784))
    q = np.where(generator.random(values.shape) < density, values, 0)
    share = np.array([1 - density, *[density / 16] * 16])
    entropy = -(share * np.log2(share)).sum() * q.size
    assert send(q)[1] < 1.03 * entropy


def test_rows_and_columns_of_different_scale_are_found() -> None:
    """Against the entropy of the whole, and near that of each entry under its true scale."""
    generator = np.random.default_rng(0)
    scale = 2.0 ** generator.normal(1, 1, (200, 1)) * 2.0 ** generator.normal(0, 1, (1, 500))
    q = np.rint(scale * generator.normal(size=scale.shape)).astype(np.int64)
    shares = np.unique(q, return_counts=True)[1] / q.size
    whole = -(shares * np.log2(shares)).sum() * q.size
    known = np.log2(np.sqrt(2 * np.pi * np.e) * np.maximum(scale, 0.25)).clip(0).sum()
    bits = send(q)[1]
    assert bits < 0.93 * whole
    assert bits < 1.06 * known


def test_rounding_by_rate_and_distortion_pays() -> None:
    """At equal bits the error is smaller than that of plain rounding with a wider step."""
    values = np.random.default_rng(0).laplace(size=(300, 400))
    q = quantised.quantise(values, 1.5)
    bits, error = send(q)[1], ((1.5 * q - values) ** 2).mean()
    low, high = 1.5, 4.0
    for _ in range(20):
        step = (low + high) / 2
        plain = np.rint(values / step).astype(np.int64)
        low, high = (step, high) if send(plain)[1] > bits else (low, step)
    assert error < 0.98 * ((step * plain - values) ** 2).mean()
    assert bool((np.abs(q) <= np.abs(np.rint(values / 1.5))).all())


def test_entries_beyond_the_largest_are_damage() -> None:
    stream, contexts = QueueEncoder(), quantised.Contexts()
    scales = quantised.Scales(np.array([20]), np.array([0]))
    for steps in (scales.rows, scales.columns):
        quantised._write_steps(stream, steps, contexts)
    (context,) = (int(context) for context in np.flatnonzero(scales.entries))
    quantised._write_entries(stream, np.array([quantised.LARGEST + 1]), context, contexts, True)
    with pytest.raises(CorruptFileError, match=r"larger than|above"):
        quantised.read(QueueDecoder(stream.finish()), (1, 1), quantised.Contexts())
