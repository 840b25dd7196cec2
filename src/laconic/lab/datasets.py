"""Data sets of recipes: images of a folder, whole or in patches, as batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.data.binary import draw_binary, read_binary
from laconic.data.colour import FACES_FILE, load_faces, load_pack_split, load_thumbnails
from laconic.data.datasets import data_root
from laconic.data.folders import list_images
from laconic.data.idx import load_digits
from laconic.data.patches import MixedSampler, PatchSampler, load_images, read_split, reducer
from laconic.errors import ConfigError, InputError
from laconic.training.ahead import Batches
from laconic.training.classification import LabelledBatches

SMALL_KINDS = ("digits", "binary", "omniglot")
LITTLE_KINDS = (*SMALL_KINDS, "faces", "cifar", "pictures")
"""Kinds of images of one size that are taken whole; those behind `SMALL_KINDS` are not black and
white in principle."""
KINDS = ("photos", *LITTLE_KINDS)
BINARY_FILE = "binarized_mnist.npz"
OMNIGLOT_FILE = "omniglot28.npz"


@dataclass(frozen=True)
class DataConfig:
    """Where the images are; photographs are cut into patches, small images taken whole.

    Attributes:
        kind: "photos"; "digits": MNIST's idx files; "binary": an .npz file of packed bits;
            "omniglot": an .npz file of grey images, made black and white once and for all;
            "faces": the Frey faces; "cifar": packs of JPEG files; "pictures": a folder of pictures
            of any size, such as CelebA's, whose middles are reduced to `patch` x `patch`.
        folder: photographs with a `split.txt`, or the files, inside the data root
            (`laconic.data.datasets.data_root`).
        split: which lines of `split.txt`, or which file or array.
        hold_out: small images at the end that are left out, to choose settings with.
        patch: side of the patches in pixels.
        batch: patches or images in a batch.
        seed: of the positions, or of the order.
        covariance_batches: batches that the linear transform is fitted to.
        leave_out: photographs whose names start so are left out; lossless models leave out those
            that were JPEG files, whose noise is gone.
        reductions: every photograph is taken at these fractions of its size.
        grey_share: share of the patches that are made grey.
        chroma_share: share of the patches whose chroma is halved and enlarged again.
        graphics: a folder of other pictures, all of whose files take part; "" for none.
        graphics_share: share of the patches that come from there.
    """

    kind: str = "photos"
    folder: str = "photos"
    split: str = "train"
    hold_out: int = 0
    patch: int = 128
    batch: int = 8
    seed: int = 1
    covariance_batches: int = 400
    leave_out: str = ""
    reductions: tuple[int, ...] = (1,)
    grey_share: float = 0.0
    chroma_share: float = 0.0
    graphics: str = ""
    graphics_share: float = 0.0


def make_batches(data: DataConfig, photos: Sequence[NDArray[np.uint8]]) -> Batches:
    """Patches of photographs, or small images `(batch, channels, h, w)` in [0, 1], by pass."""
    if data.kind not in KINDS:
        raise ConfigError(f"data.kind: '{data.kind}' is not one of {', '.join(KINDS)}")
    if data.kind == "photos":
        sampler = PatchSampler(
            photos, data.patch, data.batch, data.seed, data.grey_share, data.chroma_share
        )
        if not data.graphics:
            return sampler
        others = load_images(list_images(data_root() / data.graphics))
        second = PatchSampler(others, data.patch, data.batch, data.seed)
        return MixedSampler(sampler, second, data.graphics_share)
    images = read_small(data)
    kept = images[: len(images) - data.hold_out]
    if data.hold_out < 0 or len(kept) < data.batch:
        raise ConfigError(f"data.hold_out: {len(kept)} images are left for batches of {data.batch}")
    return LabelledBatches(kept, torch.zeros(len(kept)), data.batch, data.seed)


def read_small(data: DataConfig) -> Tensor:
    """All small images of a split, `(count, channels, h, w)` in [0, 1]."""
    folder = data_root() / data.folder
    if not folder.is_dir():
        raise InputError(
            f"data.folder: there is no folder {folder}; --data or LACONIC_DATA names the "
            "folder of all data sets"
        )
    if data.kind == "binary":
        return read_binary(folder / BINARY_FILE, data.split).float()
    if data.kind == "omniglot":
        return draw_binary(folder / OMNIGLOT_FILE, data.split).float()
    if data.kind == "faces":
        return load_faces(folder / FACES_FILE, data.split)
    if data.kind == "cifar":
        return load_pack_split(folder, data.split)
    if data.kind == "pictures":
        return load_thumbnails(read_split(folder, data.split), data.patch)
    return load_digits(folder, data.split)[0]


def read_photos(data: DataConfig) -> list[NDArray[np.uint8]]:
    """The photographs of a split, `(height, width, 3)` uint8, at every requested reduction."""
    paths = read_split(data_root() / data.folder, data.split)
    kept = [path for path in paths if not (data.leave_out and path.name.startswith(data.leave_out))]
    images = load_images(kept)
    return [reduced for factor in data.reductions for reduced in map(reducer(factor), images)]


def shuffled(data: DataConfig) -> Tensor:
    """All images of a split in a fixed order without meaning, since files may go by class."""
    images = read_small(data)
    kept = images[: len(images) - data.hold_out]
    return kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))]
