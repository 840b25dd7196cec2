"""The model that suits a picture, by the bits of a few patches."""

from importlib import resources

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from laconic import pretrained
from laconic.codecs.lossless.cheapest_model import cheapest
from laconic.codecs.lossless.picture import take_apart
from laconic.data.patches import halve_chroma
from laconic.models.base import LatentVariableModel
from laconic.pretrained import LOSSLESS_MODELS


@pytest.fixture(scope="module")
def models() -> list[LatentVariableModel]:
    return [pretrained.load(name).model for name in LOSSLESS_MODELS]


@pytest.fixture(scope="module")
def sample() -> NDArray[np.uint8]:
    with Image.open(str(resources.files("laconic.pretrained") / "sample.png")) as image:
        return np.asarray(image.convert("RGB"))[:240, :320]


def test_the_model_of_halved_chroma_is_taken_for_halved_chroma(
    models: list[LatentVariableModel], sample: NDArray[np.uint8]
) -> None:
    halved = [take_apart(halve_chroma(sample))]
    assert LOSSLESS_MODELS[cheapest(models, halved)] == "pixels2"
    many = [take_apart(halve_chroma(sample[k : k + 64, :64].copy())) for k in range(20)]
    assert LOSSLESS_MODELS[cheapest(models, many)] == "pixels2"
    assert LOSSLESS_MODELS[::-1][cheapest(models[::-1], halved)] == "pixels2"


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (64, 64), (65, 70)])
def test_small_pictures_have_a_model(
    models: list[LatentVariableModel], sample: NDArray[np.uint8], shape: tuple[int, int]
) -> None:
    assert cheapest(models, [take_apart(sample[: shape[0], : shape[1]].copy())]) in (0, 1)


def test_pictures_without_colour_take_the_first(sample: NDArray[np.uint8]) -> None:
    grey = take_apart(sample[..., 0].copy())
    assert cheapest([], [grey]) == 0


def test_pictures_without_colour_are_passed_by(
    models: list[LatentVariableModel], sample: NDArray[np.uint8]
) -> None:
    grey, halved = take_apart(sample[..., 0].copy()), take_apart(halve_chroma(sample))
    assert LOSSLESS_MODELS[cheapest(models, [grey, halved])] == "pixels2"
