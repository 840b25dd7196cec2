"""Pictures that classifiers should be uncertain on."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from laconic.data.outliers import CIFAR, FOLDERS, MNIST, NAMES, load_outliers
from laconic.errors import InputError, LaconicError

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def write_idx(path: Path, values: np.ndarray) -> None:
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a few pictures of every set."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("notmnist", "fashion-mnist"):
        write_idx(root / name / "t10k-images-idx3-ubyte.gz", rng.integers(0, 256, (6, 28, 28)))
        write_idx(root / name / "t10k-labels-idx1-ubyte.gz", rng.integers(0, 10, 6))
    (root / "omniglot").mkdir()
    greys = rng.integers(0, 256, (2, 3, 28, 28)).astype(np.uint8)
    np.savez(root / "omniglot" / "omniglot28.npz", evaluation=greys)
    for folder in ("photos", *FOLDERS):
        (root / folder).mkdir()
        for index in range(2):
            pixels = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{index}.png")
    (root / "photos" / "split.txt").write_text("valid 0.png\ntrain 1.png\n")
    return root


@pytest.mark.parametrize("shape", [GREY, COLOUR])
@pytest.mark.parametrize("name", NAMES)
def test_every_set_has_the_classifier_s_shape(
    root: Path, name: str, shape: tuple[int, int, int]
) -> None:
    found = load_outliers(name, root, shape, 5)
    assert tuple(found.shape[1:]) == shape
    assert len(found) == (2 if name in FOLDERS else 5)
    assert found.dtype == torch.float32
    assert name == "gaussian" or (found.min() >= 0 and found.max() <= 1)
    assert torch.equal(found, load_outliers(name, root, shape, 5))


def test_grey_pictures_are_grey_in_colour(root: Path) -> None:
    found = load_outliers("notmnist", root, COLOUR, 3)
    assert torch.equal(found[:, 0], found[:, 2])
    own = load_outliers("notmnist", root, GREY, 6)
    assert own.unique().numel() > 200


def test_crops_are_parts_of_validation_photographs(root: Path) -> None:
    pixels = np.asarray(Image.open(root / "photos" / "0.png"))
    for crop in load_outliers("photos", root, COLOUR, 4):
        bytes_of = (crop * 255).round().byte().permute(1, 2, 0).numpy()
        places = [
            (top, left)
            for top in range(17)
            for left in range(33)
            if np.array_equal(pixels[top : top + 32, left : left + 32], bytes_of)
        ]
        assert len(places) == 1


def test_other_seeds_give_other_pictures(root: Path) -> None:
    for name in ("gaussian", "uniform", "photos", "omniglot"):
        one, other = (load_outliers(name, root, GREY, 4, seed) for seed in (0, 1))
        assert not torch.equal(one, other)


def test_what_cannot_be_read_has_one_clear_line(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outliers: 'cats' is not one of photos, notmnist"):
        load_outliers("cats", root, GREY, 4)
    with pytest.raises(InputError, match="count: 0; give the number of pictures"):
        load_outliers("uniform", root, GREY, 0)
    for name in sorted({*MNIST, *CIFAR, *FOLDERS} - {"gaussian", "uniform"}):
        with pytest.raises(LaconicError, match=name):
            load_outliers(name, tmp_path, GREY, 4)
    with pytest.raises(InputError, match="no photograph of 99x99 pixels or more"):
        load_outliers("photos", root, (3, 99, 99), 4)
