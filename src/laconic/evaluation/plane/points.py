"""Points of the rate-distortion plane, read from the folders that a sweep wrote."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laconic.errors import InputError

FORMAT = "laconic rd point 1"
"""Written into every result, so that a reader recognises the format."""

RESULT = "result.json"
"""Name of the file with a run's measures, in the run's folder."""

FAMILY = re.compile(r"(?P<encoder>[-+])(?P<decoder>[-+])(?P<marginal>[-+v])")
"""A family's name: encoder, decoder and marginal; simple, powerful, VampPrior."""

NATS_PER_BIT = math.log(2)


@dataclass(frozen=True)
class Measure:
    """A measured mean over images.

    Attributes:
        value: nats per image.
        error: its standard error; NaN if unknown.
        draws: draws of the estimator, e.g. IWAE's k; 0 if unknown.
    """

    value: float
    error: float = math.nan
    draws: int = 0

    @property
    def spread(self) -> float:
        """The standard error, zero if unknown."""
        return 0.0 if math.isnan(self.error) else self.error


@dataclass(frozen=True)
class CodedFile:
    """A file that a coder wrote.

    Attributes:
        bits: bits per image.
        ideal_bits: ideal bits per image, R + D.
        images: number of images in the file.
    """

    bits: float
    ideal_bits: float
    images: int


@dataclass(frozen=True)
class PlanePoint:
    """One measured model.

    Attributes:
        run: the run's folder, relative to the parent of the searched folder.
        name: name in tables.
        family: "-+v" for encoder, decoder, marginal, or another model's name.
        data: the data set's name.
        settings: preset, objective, seed and so on, from the result.
        measures: the measures by name, e.g. "rate_nats".
        information: lower and upper estimate of I(X; Z) in nats; NaN if not measured.
        files: files by coder, "bits_back" or "relative_entropy".
        grids: file with arrays of samples, or None.
    """

    run: str
    name: str
    family: str
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)
    information: tuple[float, float] = (math.nan, math.nan)
    files: Mapping[str, CodedFile] = field(default_factory=dict)
    grids: Path | None = None

    @property
    def rate(self) -> float:
        """Nats; NaN if not measured."""
        return self.value("rate_nats")

    @property
    def distortion(self) -> float:
        """Nats; NaN if not measured."""
        return self.value("distortion_nats")

    @property
    def negative_elbo(self) -> Measure:
        """The rate plus the distortion, with the measured error of the sum if there is one.

        Otherwise the errors of rate and distortion are added: a bound for any correlation.
        """
        if found := self.measures.get("negative_elbo_nats"):
            return found
        rate, distortion = (self.measures.get(f"{name}_nats") for name in ("rate", "distortion"))
        if rate is None or distortion is None:
            return Measure(math.nan)
        return Measure(rate.value + distortion.value, rate.error + distortion.error)

    @property
    def on_plane(self) -> bool:
        """Whether rate and distortion were measured."""
        return math.isfinite(self.rate) and math.isfinite(self.distortion)

    @property
    def place(self) -> tuple[float, float]:
        """Rate and distortion, nats."""
        return self.rate, self.distortion

    @property
    def density(self) -> bool:
        """Whether the distortion is that of a density; then it may be below 0."""
        return bool(self.settings.get("density"))

    @property
    def plane(self) -> str:
        """The plane of the point: densities and probabilities are never compared."""
        return f"{self.data}, densities" if self.density else self.data

    @property
    def annealed(self) -> bool:
        """Whether the weight of the rate rose during training."""
        return bool(self.settings.get("annealed"))

    @property
    def beta(self) -> float:
        """The weight of the rate in D + beta R; NaN for other objectives. The ELBO's is 1."""
        objective = self.settings.get("objective") or {}
        if objective.get("name") == "elbo":
            return 1.0
        found = objective.get("beta") if objective.get("name") == "beta" else None
        return float(found) if isinstance(found, int | float) else math.nan

    def value(self, name: str) -> float:
        """A measure's mean; NaN if not measured."""
        return self.measures[name].value if name in self.measures else math.nan

    def part(self, part: str) -> str:
        """The sign of "encoder", "decoder" or "marginal" in the family; empty for other models."""
        match = FAMILY.fullmatch(self.family)
        return match[part] if match else ""


def read_points(paths: Sequence[Path]) -> list[PlanePoint]:
    """Every result in these folders, searched to any depth, or in these files; each once.

    Raises:
        InputError: a path does not exist, holds no result, or a result cannot be read.
    """
    points: dict[Path, PlanePoint] = {}
    for path in paths:
        found = [path] if path.is_file() else sorted(path.rglob(RESULT))
        if not path.exists():
            raise InputError(f"{path}: no such folder; give the folder that `laconic rd run` wrote")
        if not found:
            raise InputError(f"{path}: no {RESULT} in it; measure with `laconic rd run` first")
        for file in found:
            points.setdefault(file.resolve(), read_point(file, _above(path)))
    if not points:
        raise InputError("no runs given; name at least one folder that `laconic rd run` wrote")
    return list(points.values())


def _above(path: Path) -> Path:
    """The parent of the given folder, so that runs of two sweeps have different names."""
    return Path(os.path.abspath(path if path.is_dir() else path.parent)).parent


def read_point(file: Path, root: Path) -> PlanePoint:
    """One result.

    Args:
        file: the run's result.json.
        root: absolute folder that the run's name is relative to.

    Raises:
        InputError: the file is not a result of this format; the message names it.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: cannot be read as JSON ({error}); delete or repeat it"
        ) from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise InputError(f"{file}: not a {FORMAT!r} but {found!r}; give folders of runs only")
    try:
        return _point(document, file.parent, root)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{file}: damaged at {error}; delete or repeat this run") from error


HEAD = ("format", "name", "family", "data", "measures", "files", "grids")
"""Keys of a result that are not settings."""


def _point(document: Mapping[str, Any], folder: Path, root: Path) -> PlanePoint:
    measures, files = document["measures"], document.get("files") or {}
    bounds = measures.get("information_nats") or {}
    return PlanePoint(
        run=Path(os.path.abspath(folder)).relative_to(root).as_posix(),
        name=str(document["name"]),
        family=str(document["family"]),
        data=str(document["data"]),
        settings={key: value for key, value in document.items() if key not in HEAD},
        measures={
            name: measure
            for name, entry in measures.items()
            if name != "information_nats" and (measure := _measure(entry))
        },
        information=(_number(bounds.get("lower")), _number(bounds.get("upper"))),
        files={name: _file(entry) for name, entry in files.items() if entry},
        grids=folder / document["grids"] if document.get("grids") else None,
    )


def _measure(entry: Mapping[str, Any] | None) -> Measure | None:
    """A measure; None if its value is missing, null or not finite."""
    value = _number((entry or {}).get("value"))
    if entry is None or not math.isfinite(value):
        return None
    return Measure(value, _number(entry.get("error")), int(entry.get("draws") or 0))


def _file(entry: Mapping[str, Any]) -> CodedFile:
    bits, ideal = float(entry["bits_per_image"]), float(entry["ideal_bits_per_image"])
    return CodedFile(bits, ideal, int(entry["images"]))


def _number(value: Any) -> float:
    """A finite number, or a measure's value, else NaN."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if value is None:
        return math.nan
    number = float(value)
    return number if math.isfinite(number) else math.nan
