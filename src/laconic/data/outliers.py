"""Pictures that a classifier was not trained for: sets that its uncertainty should be high on.

The sets of Louizos 5.4 for MNIST; for CIFAR-10 crops of photographs, letters and clothes in grey,
and noise. Pictures are brought to the number of channels and the side of the classifier's own.
SVHN, tiny ImageNet and iSUN, which the source has for CIFAR-10, are read from folders of pictures,
where a user has them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from laconic.data.binary import read_greys
from laconic.data.folders import list_images, load_rgb
from laconic.data.idx import load_digits
from laconic.data.patches import read_split
from laconic.errors import InputError

Shape = tuple[int, int, int]
"""Channels, height and width of a classifier's pictures."""

GREY_SETS: Final = ("notmnist", "fashion-mnist", "omniglot")
FOLDERS: Final = ("svhn", "tiny-imagenet", "isun")
NOISE: Final = ("gaussian", "uniform")
CROPS: Final = "photos"

MNIST: Final = (*GREY_SETS, *NOISE)
"""Outliers of MNIST.  Source: Louizos, table 6."""

CIFAR: Final = (CROPS, "notmnist", "fashion-mnist", *NOISE)
"""Outliers of CIFAR-10 that need no further data."""

NAMES: Final = (CROPS, *GREY_SETS, *NOISE, *FOLDERS)


def load_outliers(name: str, root: Path, shape: Shape, count: int, seed: int = 0) -> Tensor:
    """Pictures of one set, `(count or fewer, channels, height, width)`, float32.

    Pixels are in [0, 1], but for Gaussian noise, which is N(0, 1) as in the source.

    Args:
        name: one of `NAMES`.
        root: folder of all data sets; folders of pictures are in it by their names.
        shape: of a picture of the classifier.
        count: most pictures; of larger sets as many are drawn by `seed`.
        seed: of noise, crops and choices.

    Raises:
        InputError: the name is unknown, or a file or folder is missing or damaged.
        ConfigError: the photographs have no split file.
    """
    if name not in NAMES:
        raise InputError(f"outliers: '{name}' is not one of {', '.join(NAMES)}")
    if count < 1:
        raise InputError(f"count: {count}; give the number of pictures, 1 or more")
    generator = torch.Generator().manual_seed(seed)
    if name == "gaussian":
        return torch.randn(count, *shape, generator=generator)
    if name == "uniform":
        return torch.rand(count, *shape, generator=generator)
    if name == CROPS:
        return _crops(root / CROPS, shape, count, seed)
    if name in FOLDERS:
        return _folder(root / name, shape, count, generator)
    pictures = READERS[name](root)
    return _fitted(_some(pictures, count, generator), shape)


def _omniglot(root: Path) -> Tensor:
    greys = read_greys(root / "omniglot" / "omniglot28.npz", "evaluation")
    return torch.from_numpy(greys.reshape(-1, 1, *greys.shape[-2:])).float() / 255


READERS: Final[Mapping[str, Callable[[Path], Tensor]]] = {
    "notmnist": lambda root: load_digits(root / "notmnist", "t10k")[0],
    "fashion-mnist": lambda root: load_digits(root / "fashion-mnist", "t10k")[0],
    "omniglot": _omniglot,
}
"""Grey pictures in [0, 1], `(count, 1, height, width)`, by name of the set."""


def _some(pictures: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` of them, in their order."""
    if len(pictures) <= count:
        return pictures
    chosen = torch.randperm(len(pictures), generator=generator)[:count].sort().values
    return pictures[chosen]


def _fitted(pictures: Tensor, shape: Shape) -> Tensor:
    """Pictures at the classifier's size and channels: bilinear, grey in all channels alike."""
    channels, *size = shape
    if list(pictures.shape[2:]) != size:
        pictures = functional.interpolate(pictures, size, mode="bilinear", antialias=True)
    if pictures.shape[1] == 3 and channels == 1:
        pictures = pictures.mean(1, keepdim=True)
    return pictures.expand(-1, channels, -1, -1).contiguous()


def _crops(folder: Path, shape: Shape, count: int, seed: int) -> Tensor:
    """Crops at random positions of the photographs of the split "valid", in equal shares."""
    _, height, width = shape
    found = [load_rgb(path) for path in read_split(folder, "valid")]
    photographs = [one for one in found if one.shape[0] >= height and one.shape[1] >= width]
    if not photographs:
        raise InputError(f"{folder}: no photograph of {width}x{height} pixels or more")
    rng = np.random.default_rng(seed)
    crops = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        top = int(rng.integers(photograph.shape[0] - height + 1))
        left = int(rng.integers(photograph.shape[1] - width + 1))
        crops.append(photograph[top : top + height, left : left + width])
    return _fitted(_to_tensor(crops), shape)


def _folder(folder: Path, shape: Shape, count: int, generator: torch.Generator) -> Tensor:
    """Pictures of a folder, each brought to the classifier's size."""
    paths = list_images(folder)
    order = torch.randperm(len(paths), generator=generator)[:count].sort().values
    _, height, width = shape
    pictures = [
        np.asarray(
            Image.fromarray(load_rgb(paths[i])).resize((width, height), Image.Resampling.BOX)
        )
        for i in order.tolist()
    ]
    return _fitted(_to_tensor(pictures), shape)


def _to_tensor(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
