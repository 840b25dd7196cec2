"""MRC files: what is written is read, other byte orders, modes and axes, damaged files."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from laconic.data.microscopy.maps import map_bytes, open_stack, read_map, stack_bytes
from laconic.errors import InputError


@pytest.fixture
def density() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)


def test_maps_survive_and_are_valid(tmp_path: Path, density: np.ndarray) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(map_bytes(density, 1.5))
    assert mrcfile.validate(path, print_file=None)
    found = read_map(path)
    assert np.array_equal(found.density, density)
    assert found.pixel_size == pytest.approx(1.5)


def test_the_axis_that_changes_fastest_is_x(tmp_path: Path, density: np.ndarray) -> None:
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(density)
        file.voxel_size = 2.0
    assert np.array_equal(read_map(path).density, density)


@pytest.mark.parametrize("mode", ["big-endian", "float16", "int16", "gz", "permuted"])
def test_other_kinds_of_files_are_read(tmp_path: Path, density: np.ndarray, mode: str) -> None:
    path = tmp_path / ("a.mrc.gz" if mode == "gz" else "a.mrc")
    kinds = {"float16": np.float16, "int16": np.int16}
    data = (8 * density).astype(kinds.get(mode, np.float32))
    expected = data.astype(np.float32)
    if mode == "big-endian":
        data = data.astype(">f4")
    if mode == "permuted":
        data = np.ascontiguousarray(data.transpose(2, 0, 1))
    with mrcfile.new(path, compression="gzip" if mode == "gz" else None) as file:
        file.set_data(data)
        file.voxel_size = 2.0
        if mode == "permuted":  # Sections are x, rows are z, columns are y.
            file.header.maps, file.header.mapr, file.header.mapc = 1, 3, 2
    assert np.array_equal(read_map(path).density, expected)


def test_stacks_are_streamed_and_valid(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    path = tmp_path / "a.mrcs"
    path.write_bytes(b"".join(stack_bytes(iter([images[:3], images[3:]]), 5, 8, 2.0)))
    assert mrcfile.validate(path, print_file=None)
    assert np.array_equal(open_stack(path), images)


def test_damaged_maps_are_refused_in_one_line(tmp_path: Path, density: np.ndarray) -> None:
    whole = map_bytes(density, 1.5)
    cases = {
        "cut.mrc": (whole[:-40], "not a complete MRC file"),
        "text.mrc": (b"hello" * 300, "not a complete MRC file"),
        "box.mrc": (map_bytes(density[:4], 1.5), "4 x 6 x 6 voxels; a map must be a cube"),
        "nan.mrc": (map_bytes(density * np.nan, 1.5), "not finite"),
        "scale.mrc": (map_bytes(density, 0.0), "names no pixel size"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_map(tmp_path / name)
    with pytest.raises(InputError, match="there is no such file"):
        read_map(tmp_path / "missing.mrc")
    assert read_map(tmp_path / "scale.mrc", 3.0).pixel_size == 3.0
