"""Lossless files of released versions decode for ever, sample for sample."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from laconic.codecs.lossless.chains import stacks as lanes
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.file import LosslessFile, make_coder
from laconic.models import make_model
from laconic.models.base import LatentVariableModel

MODELS = {
    "causal": {
        "name": "pixels", "strides": (), "latents": (), "widths": (), "context_width": 6,
        "context_kernel": 5, "context_blocks": 1,
    },
    "ladder": {
        "name": "pixels", "strides": (8, 4, 4, 2), "latents": (3, 4, 3, 3), "widths": (6, 6, 6, 6),
    },
    "both": {
        "name": "pixels", "strides": (4, 2), "latents": (3, 3), "widths": (6, 6),
        "context_width": 6, "context_kernel": 3, "context_blocks": 1,
    },
    "binary": {
        "name": "dense", "side": 8, "latents": 4, "hidden": (12,), "planes": 4,
        "likelihood": "bernoulli",
    },
}  # fmt: skip


def picture(number: int, height: int = 19, width: int = 23, colours: int = 3) -> NDArray[np.uint8]:
    """Made of integers, the same on every machine for ever."""
    row, column, colour = np.mgrid[:height, :width, :colours]
    values = (3 * row + 5 * column + 11 * colour + 31 * number) % 97 + row * column * number % 7
    return (values + 60).astype(np.uint8)


def deep(number: int) -> NDArray[np.uint16]:
    """16 bits, one colour."""
    return (picture(number, colours=1)[..., 0].astype(np.uint16) * 257 + number) % 65521


def bilevel(number: int) -> NDArray[np.uint8]:
    """Black and white."""
    return (picture(number, 16, 16, 1)[..., 0] % 2 * 255).astype(np.uint8)


FILES: dict[str, tuple[str, Callable[[int], NDArray[np.uint8] | NDArray[np.uint16]], int]] = {
    "colour": ("causal", picture, 1),
    "deep-grey": ("causal", deep, 1),
    "archive": ("ladder", picture, 12),
    "single": ("ladder", picture, 1),
    "combination": ("both", picture, 3),
    "digits": ("binary", bilevel, 9),
}
"""Model, pictures, and how many; more than one is an archive."""


def model(folder: Path, kind: str) -> LatentVariableModel:
    path = folder / f"{kind}.safetensors"
    made = make_model(MODELS[kind])
    if os.environ.get("WRITE_GOLDEN") and not path.exists():
        torch.manual_seed(0)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {key: value.half().contiguous() for key, value in made.state_dict().items()}, path
        )
    made.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return made.eval()


@pytest.mark.parametrize("name", FILES)
def test_released_lossless_files_decode_for_ever(
    name: str, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`WRITE_GOLDEN=1` writes files of this version; released ones are never rewritten."""
    folder = fixtures / "lossless" / "1"
    kind, make, count = FILES[name]
    codec = LosslessCodec(Core(make_coder(model(folder, kind)), kind, kind.ljust(8).encode()))
    pictures, path = [make(number) for number in range(count)], folder / f"{name}.lac"
    if os.environ.get("WRITE_GOLDEN"):
        monkeypatch.setattr(lanes, "CHAIN_SAMPLES", 4000)
        sources = [(f"{k:03d}.png", lambda p=p: p) for k, p in enumerate(pictures)]
        path.write_bytes(codec.encode(pictures[0]) if count == 1 else codec.archive(sources))
        pytest.fail(f"wrote {path.name}: review it, then run again without WRITE_GOLDEN")
    file = LosslessFile.read(path.read_bytes())
    back: list[Image.Image]
    back = [codec.decode(file)] if count == 1 else [image for _, image in codec.unarchive(file)]
    for expected, image in zip(pictures, back, strict=True):
        assert np.array_equal(np.asarray(image), expected)
