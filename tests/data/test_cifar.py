"""CIFAR-10's archive, with a few pictures in it."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from laconic.data.cifar import FILES, FOLDER, RECORD_BYTES, load_cifar
from laconic.errors import InputError
from laconic.lab.tasks import load_cifar_task

Write = Callable[..., Path]


@pytest.fixture
def write_archive(tmp_path: Path) -> Write:
    """Write an archive of two pictures a file: the k-th file's are of class k."""

    def write(cut: int = 0, left_out: str = "") -> Path:
        path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w:gz") as archive:
            for index, name in enumerate([*FILES["train"], *FILES["test"]]):
                records = np.random.default_rng(index).integers(
                    256, size=(2, RECORD_BYTES), dtype=np.uint8
                )
                records[:, 0] = index
                data = records.tobytes()[: 2 * RECORD_BYTES - cut]
                info = tarfile.TarInfo(f"{FOLDER}/{name}")
                info.size = len(data)
                if name != left_out:
                    archive.addfile(info, io.BytesIO(data))
        return path

    return write


def test_pictures_and_classes(write_archive: Write) -> None:
    path = write_archive()
    images, labels = load_cifar(path, "train")
    assert images.shape == (10, 3, 32, 32)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    images, labels = load_cifar(path, "test")
    assert labels.tolist() == [5, 5]
    record = np.random.default_rng(5).integers(256, size=(2, RECORD_BYTES), dtype=np.uint8)[1]
    green = record[1 + 1024 : 1 + 2048].reshape(32, 32)
    assert torch.equal((255 * images[1, 1]).round().to(torch.uint8), torch.from_numpy(green))


def test_the_task_reads_the_archive_where_there_are_no_packs(write_archive: Write) -> None:
    data = load_cifar_task(write_archive().parents[1])
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert data.test_inputs.shape == (2, 3, 32, 32)
    assert data.inputs.mean((0, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(data.inputs.std((0, 2, 3)), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"cut": 5}, "records of 3073 bytes"), ({"left_out": "data_batch_3.bin"}, "data_batch_3")],
)
def test_damage(write_archive: Write, settings: dict[str, int | str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_cifar(write_archive(**settings), "train")


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="laconic data fetch cifar10"):
        load_cifar_task(tmp_path)
    (tmp_path / "no.tar.gz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read as CIFAR-10's archive"):
        load_cifar(tmp_path / "no.tar.gz", "test")
