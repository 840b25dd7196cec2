"""Many calls: from threads, from processes made by fork and by spawn, and one after the other.

Here with few calls; `experiments/hardening/determinism.py` makes 1,600 and 1,000 with the embedded
models.
"""

import hashlib
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.lossless.codec import LosslessCodec
from laconic.models.pyramid import Pyramid

SERIAL, THREADS, CALLS = 4, 8, 48
GROWTH_BYTES = 4 << 20

pytestmark = pytest.mark.slow


def call(number: int) -> str:
    """Compress and decompress a picture, lossy and lossless; what came out."""
    pixels = np.random.default_rng(number % SERIAL).integers(0, 256, (40, 48, 3), np.uint8)
    lossy = ImageCodec(Pyramid(), "pyramid", b"pyramid,", threads=1)
    exact = LosslessCodec(_no_model, effort=1)
    data = [lossy.encode(pixels), exact.encode(pixels)]
    shown = lossy.decode(data[0]).tobytes()
    return hashlib.sha256(b"".join([*data, shown])).hexdigest()


def _no_model() -> None:
    raise AssertionError("no model is needed")


def test_threads_give_what_serial_calls_give() -> None:
    serial = [call(number) for number in range(SERIAL)]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(call, range(CALLS)))
    assert found == [serial[number % SERIAL] for number in range(CALLS)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_give_what_serial_calls_give(method: str) -> None:
    serial = [call(number) for number in range(SERIAL)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(call, range(SERIAL)) == serial


def test_memory_stays_the_same() -> None:
    process, sizes = psutil.Process(), []
    for number in range(80):
        call(number)
        sizes.append(process.memory_info().rss)
    assert max(sizes[60:]) - max(sizes[20:40]) < GROWTH_BYTES
