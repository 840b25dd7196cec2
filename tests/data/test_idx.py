"""idx files: read as written, refused when they are something else."""

import gzip
import struct
from pathlib import Path

import pytest
import torch

from laconic.data.idx import load_digits, read_idx
from laconic.errors import InputError


def write(path: Path, values: torch.Tensor, kind: int = 8, shape: tuple[int, ...] = ()) -> None:
    header = bytes([0, 0, kind, values.dim()]) + struct.pack(
        f">{values.dim()}I", *(shape or values.shape)
    )
    path.write_bytes(gzip.compress(header + values.numpy().tobytes()))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    images = torch.arange(2 * 3 * 4, dtype=torch.uint8).reshape(2, 3, 4)
    write(tmp_path / "train-images-idx3-ubyte.gz", images)
    write(tmp_path / "train-labels-idx1-ubyte.gz", torch.tensor([3, 9], dtype=torch.uint8))
    x, y = load_digits(tmp_path, "train")
    assert x.shape == (2, 1, 3, 4)
    assert torch.equal((x * 255).round().byte()[:, 0], images)
    assert y.tolist() == [3, 9]


@pytest.mark.parametrize("kind", ["missing", "rubbish", "floats", "short", "cut"])
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.gz"
    values = torch.zeros(2, 3, dtype=torch.uint8)
    if kind == "rubbish":
        path.write_bytes(b"rubbish")
    elif kind == "floats":
        write(path, values, kind=13)
    elif kind == "short":
        write(path, values, shape=(2, 4))
    elif kind == "cut":
        path.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0])))
    with pytest.raises(InputError, match=r"a\.gz"):
        read_idx(path)


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "t10k-images-idx3-ubyte.gz", torch.zeros(2, 3, 3, dtype=torch.uint8))
    write(tmp_path / "t10k-labels-idx1-ubyte.gz", torch.zeros(1, dtype=torch.uint8))
    with pytest.raises(InputError, match="2 images, 1 labels"):
        load_digits(tmp_path, "t10k")
