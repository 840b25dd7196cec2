"""Random square patches from folders of photographs, for training."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from laconic.data.images import read_image
from laconic.depth import to_eight_bits
from laconic.errors import ConfigError, InputError

PATCHES_PER_CELL = 15
"""C of the count rule."""

CELL = 256
"""Side in pixels of the cells in the count rule."""


def patch_count(width: int, height: int, per_cell: int = PATCHES_PER_CELL) -> int:
    """The number of patches that an image contributes to one epoch.

    Formula: P(W, H) = C floor(W / 256) floor(H / 256).  Source: Flamich 3.1.
    """
    return per_cell * (width // CELL) * (height // CELL)


def read_split(folder: Path, split: str) -> list[Path]:
    """Files of a split, as listed in the folder's `split.txt` (lines `train NAME`, `valid NAME`).

    Raises:
        ConfigError: the folder has no readable split file, or the split is empty.
    """
    index = folder / "split.txt"
    try:
        lines = index.read_text().splitlines()
    except OSError as error:
        raise ConfigError(
            f"{index}: cannot be read ({error.strerror}); set `data` to a folder with one"
        ) from error
    names = [line.split(maxsplit=1)[1] for line in lines if line.split(maxsplit=1)[:1] == [split]]
    if not names:
        raise ConfigError(f"{index}: no line starts with '{split}'")
    return [folder / name for name in names]


def load_images(paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """Decode photographs to uint8 arrays of shape `(height, width, 3)`.

    Raises:
        ConfigError: a file is not a readable image.
    """
    images = []
    for path in paths:
        try:
            images.append(np.asarray(to_eight_bits(read_image(path)).convert("RGB")))
        except InputError as error:
            raise ConfigError(f"{path}: not a readable training image ({error})") from error
    return images


def reducer(factor: int) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """A function that scales a photograph to 1 / `factor` of its size by means over squares."""

    def reduce(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(image).reduce(factor))

    return reduce


ENLARGERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX)
"""Ways to enlarge halved chroma, as different programs do."""


def halve_chroma(
    patch: NDArray[np.uint8], enlarger: Image.Resampling = Image.Resampling.BILINEAR
) -> NDArray[np.uint8]:
    """The patch as it looks after a camera, a scanner or JPEG kept chroma at half size.

    Args:
        patch: uint8 `(height, width, 3)`.
        enlarger: how chroma is brought back to full size.

    Returns:
        uint8 of the same shape.
    """
    luma, *chroma = Image.fromarray(patch).convert("YCbCr").split()
    half = ((luma.width + 1) // 2, (luma.height + 1) // 2)
    chroma = [
        plane.resize(half, Image.Resampling.BOX).resize(luma.size, enlarger) for plane in chroma
    ]
    return np.asarray(Image.merge("YCbCr", (luma, *chroma)).convert("RGB"))


class PatchSampler:
    """Draws batches of patches by the count rule, flipped and transposed at random.

    Every batch is a function of (seed, index) alone, so that a resumed run gets the same batches
    as an uninterrupted one.

    Args:
        images: uint8 arrays `(height, width, 3)`; those smaller than a patch are left out.
        size: side of the patches in pixels.
        batch: patches in a batch.
        seed: seed of the random positions.
        grey_share: share of the patches that are made grey, all three colours alike.
        chroma_share: share of the patches whose chroma is halved, see `halve_chroma`.
    """

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]],
        size: int,
        batch: int,
        seed: int,
        grey_share: float = 0.0,
        chroma_share: float = 0.0,
    ) -> None:
        self.images = [image for image in images if min(image.shape[:2]) >= size]
        if not self.images:
            raise ConfigError(f"no training image has both sides of at least {size} pixels")
        counts = np.array([max(1, patch_count(i.shape[1], i.shape[0])) for i in self.images], float)
        self.probabilities = counts / counts.sum()
        self.size, self.batch_size, self.seed = size, batch, seed
        self.grey_share, self.chroma_share = grey_share, chroma_share

    def batch(self, index: int) -> Tensor:
        """Batch number `index`: `(batch, 3, size, size)` float32 in [0, 1]."""
        rng = np.random.default_rng((self.seed, index))
        chosen = rng.choice(len(self.images), self.batch_size, p=self.probabilities)
        patches = np.stack([self._patch(self.images[i], rng) for i in chosen])
        return torch.from_numpy(patches).permute(0, 3, 1, 2).float().div_(255)

    def _patch(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        top = int(rng.integers(image.shape[0] - self.size + 1))
        left = int(rng.integers(image.shape[1] - self.size + 1))
        patch = image[top : top + self.size, left : left + self.size]
        flip_rows, flip_columns, transpose = rng.integers(2, size=3)
        patch = patch[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        if self.grey_share and rng.random() < self.grey_share:
            patch = np.asarray(Image.fromarray(patch).convert("L").convert("RGB"))
        if self.chroma_share and rng.random() < self.chroma_share:
            patch = halve_chroma(patch, ENLARGERS[rng.integers(len(ENLARGERS))])
        return np.ascontiguousarray(patch.transpose(1, 0, 2) if transpose else patch)


class MixedSampler:
    """Batches of one sampler, in which random patches are replaced by those of another.

    Args:
        first: the sampler of most patches.
        second: the other sampler, with batches of the same size.
        share: probability that a patch comes from `second`.
    """

    def __init__(self, first: PatchSampler, second: PatchSampler, share: float) -> None:
        self.first, self.second, self.share = first, second, share

    def batch(self, index: int) -> Tensor:
        """Batch number `index`, a function of the seed and the index alone."""
        batch = self.first.batch(index)
        chosen = np.random.default_rng((self.first.seed, index, 1)).random(len(batch)) < self.share
        if chosen.any():
            places = torch.from_numpy(chosen)
            batch[places] = self.second.batch(index)[places]
        return batch
