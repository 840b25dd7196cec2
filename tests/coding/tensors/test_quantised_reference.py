"""The compiled coder of quantised weights beside a slow one in plain numpy: the same bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.tensors import quantised
from laconic.coding.tensors.quantised import _CLASSES, _LOWEST, _SYMBOLS, LARGEST, SLOPE

Steps = tuple[np.ndarray, np.ndarray]
DROPPED = np.array([max(0, (context + _LOWEST) // 2 - 2) for context in range(_CLASSES)])


def contexts_of(steps: Steps) -> np.ndarray:
    return np.clip(steps[0][:, None] + steps[1][None] - _LOWEST, 0, _CLASSES - 1)


def information(table: np.ndarray) -> float:
    total, filled = table.sum(1), table[table > 0]
    return float((total[total > 0] * np.log2(total[total > 0])).sum() - filled @ np.log2(filled))


def cost(size: np.ndarray, steps: Steps) -> float:
    where = contexts_of(steps).reshape(-1)
    seen = np.minimum(size.reshape(-1) >> DROPPED[where], _SYMBOLS - 1)
    cells = np.bincount(where * _SYMBOLS + seen, minlength=_CLASSES * _SYMBOLS)
    table = cells.reshape(_CLASSES, _SYMBOLS)
    bits = information(table) + float(table.sum(1) @ DROPPED)
    kinds = np.maximum(np.count_nonzero(table, axis=1) - 1, 0)
    bits += float(kinds @ np.log2(table.sum(1) + 1)) / 2
    for one in steps:
        changes = np.unique(np.diff(one), return_counts=True)[1]
        bits += information(changes[None]) + 6 * changes.size if changes.size > 1 else 0.0
    return bits


def half_octaves(scale: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(2 * np.log2(np.maximum(scale, 2.0**-12))), -24, 63).astype(np.int64)


def options(size: np.ndarray) -> list[Steps]:
    rows, columns = size.shape
    mean = max(float(size.mean()), 2.0**-8)
    none = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    found = [(none[0] + round(2 * np.log2(mean)), none[1])]
    if rows > 1:
        found.append((half_octaves(size.mean(1)), none[1]))
    if columns > 1:
        found.append((none[0], half_octaves(size.mean(0))))
    if rows > 1 and columns > 1:
        by_column = np.ones(columns)
        for _ in range(4):
            by_row = size.sum(1) / max(float(by_column.sum()), 1e-9)
            by_column = size.sum(0) / max(float(by_row.sum()), 1e-9)
        found.append((half_octaves(by_row), half_octaves(by_column)))
    return found


def cheapest(q: np.ndarray) -> Steps:
    return min(options(np.abs(q)), key=lambda steps: cost(np.abs(q), steps))


def slow_write(stream: QueueEncoder, q: np.ndarray, contexts: quantised.Contexts) -> None:
    steps = cheapest(q)
    for one in steps:
        changes = np.diff(one, prepend=0)
        constant = not changes[1:].any()
        stream.uniform([int(constant)], 2)
        changes = changes[:1] if constant else changes
        stream.adaptive(2 * np.abs(changes) - (changes < 0), contexts.scales)
    where = contexts_of(steps)
    for context in np.unique(where):
        part, dropped = q[where == context], int(DROPPED[context])
        size = np.abs(part)
        seen = np.minimum(size >> dropped, _SYMBOLS - 1)
        stream.adaptive(seen, contexts.sizes(int(context)))
        stream.integers((size >> dropped)[seen == _SYMBOLS - 1] - (_SYMBOLS - 1))
        stream.uniform(size & ((1 << dropped) - 1), 1 << dropped)
        stream.uniform((part < 0)[size > 0], 2)


def slow_quantise(values: np.ndarray, step: float) -> np.ndarray:
    q = np.rint(values / step).astype(np.int64)
    size, where = np.abs(q), contexts_of(cheapest(q))
    cell = where * _SYMBOLS + np.minimum(size, _SYMBOLS - 1)
    counts = np.bincount(cell.reshape(-1), minlength=_CLASSES * _SYMBOLS)
    shares = counts.reshape(_CLASSES, _SYMBOLS) + 0.05
    price = -np.log2(shares / shares.sum(1, keepdims=True))
    price[:, 1:] += 1
    saved = np.diff(price, axis=1, prepend=0).reshape(-1)[cell]
    exact = np.abs(values / step)
    spoilt = (exact - (size - 1)) ** 2 - (exact - size) ** 2
    return np.sign(q) * (size - ((size > 0) & (spoilt < SLOPE * saved)))


def rough(generator: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    factors = generator.gamma(0.5, size=(shape[0], 1)) * generator.gamma(0.5, size=(1, shape[1]))
    return scale * factors * generator.laplace(size=shape)


def sparse(generator: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    return generator.integers(-8, 9, shape) * (generator.random(shape) < min(scale, 1))


def constant(generator: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    return np.full(shape, generator.choice([-1, 1]) * scale)


def bell(generator: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    return scale * generator.normal(size=shape)


KINDS = {kind.__name__: kind for kind in (rough, sparse, constant, bell)}


def integers(kind: str, shape: tuple[int, int], scale: float, seed: int) -> np.ndarray:
    values = KINDS[kind](np.random.default_rng(seed), shape, scale)
    return np.clip(np.rint(values), -LARGEST, LARGEST).astype(np.int64)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(KINDS)),
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
    st.floats(-6, 20).map(lambda octaves: 2.0**octaves),
    st.integers(0, 1000),
)
def test_bytes_are_those_of_the_slow_coder(
    kind: str, shape: tuple[int, int], scale: float, seed: int
) -> None:
    matrices = [integers(kind, shape, scale, seed), integers(kind, shape[::-1], scale, seed + 1)]
    fast, slow = QueueEncoder(), QueueEncoder()
    contexts, others = quantised.Contexts(), quantised.Contexts()
    for q in matrices:
        quantised.write(fast, q, contexts)
        slow_write(slow, q, others)
    data = fast.finish()
    assert data == slow.finish()
    assert fast.bits == pytest.approx(slow.bits)
    reader, contexts = QueueDecoder(data), quantised.Contexts()
    for q in matrices:
        assert np.array_equal(quantised.read(reader, q.shape, contexts), q)
    assert reader.bits == pytest.approx(fast.bits)


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (70, 90), (0, 4)])
@pytest.mark.parametrize("value", [0, 1, 300, LARGEST])
def test_odd_shapes_and_huge_values(shape: tuple[int, int], value: int) -> None:
    q = np.full(shape, value)
    q[::3] *= -1
    stream, contexts = QueueEncoder(), quantised.Contexts()
    quantised.write(stream, q, contexts)
    back = quantised.read(QueueDecoder(stream.finish()), shape, quantised.Contexts())
    assert np.array_equal(back, q)


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(["rough", "bell"]),
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
    st.floats(-6, 6).map(lambda octaves: 2.0**octaves),
    st.integers(0, 1000),
)
def test_quantises_as_the_slow_one(
    kind: str, shape: tuple[int, int], scale: float, seed: int
) -> None:
    values = KINDS[kind](np.random.default_rng(seed), shape, scale)
    assert np.array_equal(quantised.quantise(values, 0.7), slow_quantise(values, 0.7))
