"""A small map with what is known of it, the same on every machine."""

import numpy as np
import pytest

from laconic.codecs.volume import noise
from laconic.data.microscopy.maps import map_bytes
from laconic.map_file import MapFile

SIZE = 18


@pytest.fixture(scope="session")
def density() -> np.ndarray:
    """A few blobs in the middle of the box, and noise."""
    z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE] - SIZE // 2
    shape = np.exp(-((z - 2) ** 2 + y**2 + (x + 1) ** 2) / 6) - np.exp(-(z**2 + (y - 3) ** 2) / 4)
    return (shape + 0.05 * np.random.default_rng(0).normal(size=shape.shape)).astype(np.float32)


@pytest.fixture(scope="session")
def variance() -> np.ndarray:
    """Of white noise."""
    return np.full((SIZE,) * 3, 0.0025, np.float32)


@pytest.fixture(scope="session")
def share(density: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return noise.share_from_variance(density, variance)


@pytest.fixture(scope="session")
def given(density: np.ndarray) -> MapFile:
    return MapFile(density, map_bytes(density, 2.5)[:1024])
