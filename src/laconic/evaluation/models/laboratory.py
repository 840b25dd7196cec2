"""The rate-distortion laboratory's instruments: one trained model -> one point of the plane."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from laconic.codecs.lossless.chains.coded_length import WAYS, coded_bits
from laconic.evaluation.models.estimates import Sampling, UnavailableMeasureError
from laconic.evaluation.models.measures import MeasureConfig, Measures, grids, measure_model
from laconic.models.base import LatentVariableModel
from laconic.training.config import build

SHOWN = 10
"""Pictures in a column of the grids."""

WINDOW = 64
"""Pixels; of larger pictures, a part from the centre is shown, of this side or so."""

SHOWN_WINDOWS = 4
"""Such parts in a column of the grids."""


@dataclass(frozen=True)
class Readings:
    """What was found; see `laconic.lab.runs.Point`."""

    measures: Measures
    files: dict[str, dict[str, Any]]
    grids: dict[str, Any]


class Laboratory:
    """Measures, codes and draws, as a sweep's `measure` and `code` say."""

    def resolve(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The section `measure` with every default.

        Raises:
            ConfigError: an unknown key or a value that cannot be.
        """
        return asdict(build(MeasureConfig, settings, "measure"))

    def rehearse(
        self, model: LatentVariableModel, images: Tensor, settings: Mapping[str, Any]
    ) -> None:
        """Code a few images with an untrained model, in every requested way.

        Raises:
            LaconicError: it cannot be done with this model.
        """
        for way in self._ways(settings):
            coded_bits(model, images, way, draws=1, verify=False)

    def take(
        self,
        model: LatentVariableModel,
        train: Tensor,
        test: Tensor,
        settings: Mapping[str, Any],
        watch: Callable[[str, int, int], None],
    ) -> Readings:
        """Everything about one model.

        Args:
            model: trained.
            train: images that it was trained on, `(count, 1, height, width)` in [0, 1].
            test: images that it was not.
            settings: the sections `measure` and `code` of this run.
            watch: called with the stage, its finished part and the whole.
        """
        config = build(MeasureConfig, settings["measure"], "measure")
        found = measure_model(model, test, config, train, watch)
        files = {}
        for way in self._ways(settings):
            watch(way, 0, 1)
            files[way] = asdict(coded_bits(model, test[: settings["code"]["images"]], way))
        seen, sampling = _to_show(test, model.stride), Sampling(beta=config.beta or None)
        try:
            pictures: dict[str, Any] = dict(grids(model, seen, len(seen), sampling=sampling))
        except UnavailableMeasureError:  # Some likelihoods cannot be drawn from.
            pictures = {}
        return Readings(found, files, pictures)

    def _ways(self, settings: Mapping[str, Any]) -> list[str]:
        return [way for way in WAYS if settings["code"][way]]


def _to_show(images: Tensor, stride: int) -> Tensor:
    """The first few images, or parts from the centres of large ones, which the model can take."""
    sides = images.shape[-2:]
    if max(sides) <= WINDOW:
        return images[:SHOWN]
    kept = [min(side, max(stride, WINDOW // stride * stride)) for side in sides]
    first = [(side - part) // 2 for side, part in zip(sides, kept, strict=True)]
    rows, columns = (slice(a, a + part) for a, part in zip(first, kept, strict=True))
    return images[:SHOWN_WINDOWS, :, rows, columns]
