"""The rate-distortion laboratory's instruments: one trained model -> one point of the plane."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from laconic.codecs.coded_length import WAYS, coded_bits
from laconic.evaluation.estimates import UnavailableMeasureError
from laconic.evaluation.measures import MeasureConfig, Measures, grids, measure
from laconic.models.base import LatentVariableModel
from laconic.training.config import build

SHOWN = 10
"""Pictures in a column of the grids."""


@dataclass(frozen=True)
class Readings:
    """What was found; see `laconic.pretrained.runs.Point`."""

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
        """Code a few images with an untrained model, in every way that is asked for.

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
            watch: told the stage, how much is done and of how much.
        """
        config = build(MeasureConfig, settings["measure"], "measure")
        found = measure(model, test, config, train, watch)
        files = {}
        for way in self._ways(settings):
            watch(way, 0, 1)
            files[way] = asdict(coded_bits(model, test[: settings["code"]["images"]], way))
        try:
            pictures: dict[str, Any] = dict(grids(model, test, SHOWN))
        except UnavailableMeasureError:  # Some likelihoods cannot be drawn from.
            pictures = {}
        return Readings(found, files, pictures)

    def _ways(self, settings: Mapping[str, Any]) -> list[str]:
        return [way for way in WAYS if settings["code"][way]]
