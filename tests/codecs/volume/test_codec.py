"""Maps to files and back: accuracy, headers, kinds of numbers, odd boxes, released files."""

import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

import laconic
from laconic.codecs.base import Decoding
from laconic.codecs.volume import blocks, codec, noise
from laconic.codecs.volume.file import VolumeFile
from laconic.data.microscopy.maps import map_bytes, read_map_file
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError
from laconic.map_file import MapFile
from laconic.metrics.fourier_shells import shell_correlation


def decoded(data: bytes) -> MapFile:
    return next(found for _, found in VolumeFile.read(data).decode(Decoding()))


@pytest.mark.parametrize("size", [15, 16, 33])
@pytest.mark.parametrize("block", [8, 16])
def test_the_transform_is_orthonormal(size: int, block: int) -> None:
    volume = np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32)
    none = np.zeros(size // 2 + 1, np.int64)
    matrix = blocks.to_matrix(volume, none, block)
    assert np.linalg.norm(matrix) == pytest.approx(np.linalg.norm(volume), rel=1e-6)
    steps = np.arange(size // 2 + 1) - 20
    matrix = blocks.to_matrix(volume, steps, block)
    assert blocks.to_density(matrix, size, steps, block) == pytest.approx(volume, abs=1e-5)


def test_more_quality_is_closer_and_larger(given: MapFile, share: np.ndarray) -> None:
    files = [codec.encode(given, share, quality) for quality in (1, 50, 100)]
    assert sorted(files, key=len) == files
    errors = [np.linalg.norm(decoded(data).density - given.density) for data in files]
    assert sorted(errors, reverse=True) == errors


def test_shells_keep_their_correlation(given: MapFile, share: np.ndarray) -> None:
    """Rounding has about the noise that the header promises, and less where it is coarse."""
    found = decoded(codec.encode(given, share, 50))
    correlation = shell_correlation(
        torch.from_numpy(found.density), torch.from_numpy(given.density)
    ).numpy()
    allowed = noise.noise_variances(given.density, share, codec.loss_of(50))
    expected = 1 / np.sqrt(1 + allowed / noise.shell_power(given.density))
    known = share > 0.5
    assert np.all(correlation[known] > expected[known] - 0.03)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int16, ">f4"])
def test_files_keep_their_header(
    tmp_path: Path, density: np.ndarray, share: np.ndarray, kind: object
) -> None:
    path = tmp_path / "a.mrc"
    scale = 1000 if kind == np.int16 else 1
    with mrcfile.new(path) as file:
        file.set_data((scale * density[:, ::-1]).astype(kind))  # type: ignore[call-overload]
        file.voxel_size = 2.5
        file.header.origin = (3, 4, 5)
        file.header.nxstart = -9
        file.add_label("a test")
    found = decoded(codec.encode(read_map_file(path), share))
    back = tmp_path / "b.mrc"
    back.write_bytes(found.to_bytes())
    assert mrcfile.validate(back, print_file=None)
    with mrcfile.open(path) as old, mrcfile.open(back) as new:
        assert new.data.dtype.kind == old.data.dtype.kind
        assert new.data.dtype.itemsize == old.data.dtype.itemsize
        assert new.voxel_size.x == pytest.approx(2.5)
        assert new.header.origin.tolist() == (3, 4, 5)
        assert new.header.nxstart == -9
        assert list(new.header.label) == list(old.header.label)
        left = np.asarray(new.data, np.float64) - old.data
        assert np.linalg.norm(left) < 0.2 * np.linalg.norm(np.asarray(old.data, np.float64))


def test_axes_and_extended_headers_are_kept(tmp_path: Path, density: np.ndarray) -> None:
    path, back = tmp_path / "a.mrc", tmp_path / "b.mrc"
    with mrcfile.new(path) as file:
        file.set_data(density.transpose(2, 0, 1))
        file.voxel_size = 2.0
        file.header.maps, file.header.mapr, file.header.mapc = 1, 3, 2
        file.set_extended_header(np.arange(8, dtype=np.int32))
    found = read_map_file(path)
    assert np.array_equal(found.density, density)
    back.write_bytes(found.to_bytes())
    with mrcfile.open(path) as old, mrcfile.open(back) as new:
        assert np.array_equal(old.data, new.data)
        assert new.extended_header.tobytes() == np.arange(8, dtype=np.int32).tobytes()


def test_files_of_maps_through_the_package(
    tmp_path: Path, density: np.ndarray, variance: np.ndarray, given: MapFile, share: np.ndarray
) -> None:
    for name, volume in (("map", density), ("variance", variance), ("half", density)):
        (tmp_path / f"{name}.mrc").write_bytes(map_bytes(volume, 2.5))
    data = laconic.compress_map(tmp_path / "map.mrc", variance=tmp_path / "variance.mrc")
    assert data == codec.encode(given, share)
    found = laconic.decompress_map(data)
    assert found.pixel_size == pytest.approx(2.5)
    opened = laconic.open(data)
    assert np.array_equal(opened.map.density, found.density)
    assert opened.info.to_dict()["size"] == len(density)
    assert "a map" in repr(opened)
    halves = (tmp_path / "half.mrc", tmp_path / "half.mrc")
    assert len(laconic.compress_map(tmp_path / "map.mrc", half_maps=halves)) > len(data)
    with pytest.raises(InputError, match="half maps"):
        laconic.compress_map(tmp_path / "map.mrc")
    with pytest.raises(UnsupportedFileError, match="decompress_map"):
        laconic.decompress(data)


def test_a_short_file_needs_little_memory(given: MapFile, share: np.ndarray) -> None:
    file = VolumeFile.read(codec.encode(given, share))
    large = file.header.__class__(1200, 16, 0, 0, np.zeros(601, np.int64))
    from laconic.container import pack

    with pytest.raises(CorruptFileError, match="too many"):
        VolumeFile.read(pack("map", large.write(), file.file.sections))


@pytest.mark.parametrize("quality", [0, 101, float("nan")])
def test_qualities_have_bounds(given: MapFile, share: np.ndarray, quality: float) -> None:
    with pytest.raises(InputError, match="quality"):
        codec.encode(given, share, quality)


def test_released_maps_decode_for_ever(fixtures: Path, given: MapFile, share: np.ndarray) -> None:
    """`WRITE_GOLDEN=1` writes the file of this version; a released one is never rewritten."""
    path = fixtures / "map" / "1" / "blobs.lac"
    if os.environ.get("WRITE_GOLDEN") and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode(given, share))
        path.with_suffix(".mrc").write_bytes(decoded(path.read_bytes()).to_bytes())
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    found, expected = decoded(path.read_bytes()), read_map_file(path.with_suffix(".mrc"))
    assert found.density == pytest.approx(expected.density, abs=1e-6)
    assert found.header[:76] == expected.header[:76]
