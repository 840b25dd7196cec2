"""Unpacked weights: the same numbers, and whatever is wrong with the folder, none are lost."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from laconic.pretrained.unpacked import VARIABLE, cache_root, keep, read_kept

DIGEST = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "kept"))
    return tmp_path / "kept"


def weights() -> dict[str, torch.Tensor]:
    return {"w": torch.arange(6.0).reshape(2, 3), "scalar": torch.tensor(1.5)}


def test_what_is_kept_is_read(folder: Path) -> None:
    assert read_kept(DIGEST) is None
    keep(DIGEST, (weights(), {"meta": "{}"}))
    found = read_kept(DIGEST)
    assert found is not None
    state, notes = found
    assert notes == {"meta": "{}"}
    assert all(torch.equal(state[name], tensor) for name, tensor in weights().items())
    assert [path.name for path in folder.iterdir()] == [f"{DIGEST}.safetensors"]
    assert read_kept("cd" * 32) is None


def test_damage_is_noticed(folder: Path) -> None:
    keep(DIGEST, (weights(), {}))
    path = folder / f"{DIGEST}.safetensors"
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-3])
    assert read_kept(DIGEST) is None
    data[-2] ^= 1
    path.write_bytes(data)
    assert read_kept(DIGEST) is None
    save_file(load_file(path), path)  # Without a checksum.
    assert read_kept(DIGEST) is None


def test_a_folder_that_cannot_be_used_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("a file")
    keep(DIGEST, (weights(), {}))
    assert read_kept(DIGEST) is None
    monkeypatch.setenv(VARIABLE, "")
    assert cache_root() is None
    keep(DIGEST, (weights(), {}))
    assert read_kept(DIGEST) is None
