"""Hundreds of pictures, written 16 at a time on two threads, read one at a time on one."""

from collections.abc import Iterator
from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image

from laconic import pretrained
from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.chains.stacks import GroupShape
from laconic.models import make_model
from laconic.models.base import LatentVariableModel

SIDE = 16
LADDER = {
    "name": "pixels", "strides": (8, 4, 2), "latents": (4, 4, 4), "widths": (16, 16, 16),
}  # fmt: skip


@pytest.fixture
def threads() -> Iterator[None]:
    """Whatever a test sets is put back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def crops(count: int) -> np.ndarray:
    """Squares all over the sample photograph."""
    with resources.as_file(resources.files("laconic.pretrained") / "sample.png") as path:
        picture = np.asarray(Image.open(path).convert("RGB"))
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(0, side - SIDE + 1, count) for side in picture.shape[:2])
    places = zip(rows, columns, strict=True)
    return np.stack([picture[r : r + SIDE, c : c + SIDE] for r, c in places])


def ladder() -> LatentVariableModel:
    torch.manual_seed(0)
    model = make_model(LADDER)
    for parameter in model.parameters():
        if float(parameter.detach().abs().max()) == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("kind", "count"), [("embedded", 96), ("ladder", 320)])
def test_batch_and_threads_leave_no_trace(kind: str, count: int) -> None:
    pixels = crops(count)
    exact = (ladder() if kind == "ladder" else pretrained.load("pixels").model).exact_ladder()
    torch.set_num_threads(2)
    group = ChainCoder(exact, batch=16, threads=2).encode(pixels)
    torch.set_num_threads(1)
    back = ChainCoder(exact, batch=1, threads=1).decode(group, *GroupShape.of(pixels))
    assert np.array_equal(np.stack(list(back)), pixels)
