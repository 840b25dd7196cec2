"""One trained model -> one point of the rate-distortion plane: measures, files, pictures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from laconic.codecs.lossless.chains.coded_length import coded_bits
from laconic.evaluation.models.estimates import Sampling, UnavailableMeasureError
from laconic.evaluation.models.measures import MeasureConfig, Measures, Watch, grids, measure_model
from laconic.models.base import LatentVariableModel

SHOWN = 10
"""Pictures in a column of the grids."""

WINDOW = 64
"""Pixels; of larger pictures, a part from the centre is shown, of this side or so."""

SHOWN_WINDOWS = 4
"""Such parts in a column of the grids."""


@dataclass(frozen=True)
class Readings:
    """What was found of one model.

    Attributes:
        measures: by name, each with its value and standard error, in nats per image.
        files: real codes by the way they were made, in bits per image.
        grids: arrays of pictures by name, uint8.
    """

    measures: Measures
    files: Mapping[str, Mapping[str, Any]]
    grids: Mapping[str, Any]

    @property
    def results(self) -> dict[str, Any]:
        """Measures and files, as `result.json` holds them."""
        files = {"files": dict(self.files)} if self.files else {}
        return {"measures": dict(self.measures), **files}


def rehearse(model: LatentVariableModel, images: Tensor, ways: Mapping[str, int]) -> None:
    """Code a few images with an untrained model, in every way that is wanted.

    Args:
        model: untrained.
        images: `(count, 1, height, width)` in [0, 1].
        ways: see `take`.

    Raises:
        LaconicError: it cannot be done with this model.
    """
    for way in ways:
        coded_bits(model, images, way, draws=1, verify=False)


def take(
    model: LatentVariableModel,
    train: Tensor,
    test: Tensor,
    config: MeasureConfig,
    ways: Mapping[str, int],
    watch: Watch,
) -> Readings:
    """Measure, code and draw: one trained model becomes one point of the plane.

    Args:
        model: trained.
        train: images that it was trained on, `(count, 1, height, width)` in [0, 1].
        test: images that it was not trained on.
        config: what is measured.
        ways: how many images become files, by the way of coding them.
        watch: called with the stage, how much of it is done, and how much there is.
    """
    found = measure_model(model, test, config, train, watch)
    files = {}
    for way, count in ways.items():
        watch(way, 0, 1)
        files[way] = asdict(coded_bits(model, test[:count], way))
    seen, sampling = _to_show(test, model.stride), Sampling(beta=config.beta or None)
    try:
        pictures: dict[str, Any] = dict(grids(model, seen, len(seen), sampling=sampling))
    except UnavailableMeasureError:  # Some likelihoods cannot be drawn from.
        pictures = {}
    return Readings(found, files, pictures)


def _to_show(images: Tensor, stride: int) -> Tensor:
    """The first few images, or parts from the centres of large ones, which the model can take."""
    sides = images.shape[-2:]
    if max(sides) <= WINDOW:
        return images[:SHOWN]
    kept = [min(side, max(stride, WINDOW // stride * stride)) for side in sides]
    first = [(side - part) // 2 for side, part in zip(sides, kept, strict=True)]
    rows, columns = (slice(a, a + part) for a, part in zip(first, kept, strict=True))
    return images[:SHOWN_WINDOWS, :, rows, columns]
