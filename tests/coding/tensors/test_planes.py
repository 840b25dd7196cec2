"""Planes of symbols: every bit pattern of every type comes back, and structure is found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.tensors import planes
from laconic.coding.tensors.planes import Layout

LAYOUTS = [Layout(8, 8), Layout(16, 6), Layout(16, 9), Layout(32, 9), Layout(64, 12), Layout(64, 8)]


def send(words: np.ndarray, layout: Layout) -> tuple[np.ndarray, float]:
    stream = QueueEncoder()
    planes.write(stream, words, layout)
    return planes.read(QueueDecoder(stream.finish()), words.size, layout), stream.bits


@settings(deadline=None)
@given(st.sampled_from(LAYOUTS), st.binary(max_size=400), st.integers(1, 50))
def test_every_bit_comes_back(layout: Layout, data: bytes, repeats: int) -> None:
    size = layout.width // 8
    words = np.frombuffer(data[: len(data) // size * size] * repeats, f"<u{size}")
    back, _ = send(words, layout)
    assert back.dtype == words.dtype
    assert np.array_equal(back, words)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_planes_cover_every_bit_once(layout: Layout) -> None:
    covered = [bit for shift, bits in layout.planes for bit in range(shift, shift + bits)]
    assert sorted(covered) == list(range(layout.width))
    assert max(bits for _, bits in layout.planes) <= 12


def test_chunks_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "CHUNK", 1000)
    words = np.random.default_rng(0).integers(0, 2**32, 4321, dtype=np.uint64).astype(np.uint32)
    assert np.array_equal(send(words, Layout(32, 9))[0], words)


def test_noise_costs_its_bits_and_floats_of_one_scale_less() -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 2**32, 50000, dtype=np.uint64).astype(np.uint32)
    assert send(noise, Layout(32, 9))[1] < 32.02 * noise.size
    normal = generator.normal(size=50000).astype(np.float32).view(np.uint32)
    # Sign, 2.1 bits of exponent, a mantissa that is nearly uniform.
    assert send(normal, Layout(32, 9))[1] / normal.size == pytest.approx(26.6, abs=0.3)
    few = generator.choice(generator.normal(size=4).astype(np.float32), 50000).view(np.uint32)
    assert send(few, Layout(32, 9))[1] / few.size < 8.3


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.97])
def test_the_estimate_is_what_writing_takes(zeros: float) -> None:
    random = np.random.default_rng(0)
    numbers = random.normal(size=200_000) * (random.random(200_000) >= zeros)
    words = numbers.astype(np.float32).view(np.uint32)
    _, bits = send(words, Layout(32, 9))
    assert planes.bits_per_number(words, Layout(32, 9)) == pytest.approx(bits / 200_000, rel=0.03)
