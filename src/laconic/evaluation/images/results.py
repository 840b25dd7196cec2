"""The results of an evaluation: measurements, points, curves, and their JSON form."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from laconic.errors import InputError
from laconic.metrics import ms_ssim_db

FORMAT = "laconic rate-distortion study 1"
"""Written into every JSON file, so that a reader recognises the format."""


@dataclass(frozen=True)
class LevelBits:
    """The bits of one level of the ladder.

    Attributes:
        ideal_bits: KL(posterior || prior) in bits; None where the file has only their sum.
        theory_bits: the coder's own bound or expectation, in bits; None as above.
        parts: bits written, by part ("indices", "group sizes", "outliers", ...), or "all".
    """

    ideal_bits: float | None
    theory_bits: float | None
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CodeLength:
    """The length of a file: on disk, ideal and in theory; and the bits of each level.

    Attributes:
        file_bits: eight times the bytes on disk, header included.
        ideal_bits: KL over all levels, in bits.
        theory_bits: the coders' bounds, in bits.
        levels: the bits of each level, top (most abstract) first.
    """

    file_bits: float
    ideal_bits: float
    theory_bits: float
    levels: tuple[LevelBits, ...] = ()

    @property
    def overhead_bits(self) -> float:
        """Bits of the file that belong to no level: header, checksums, padding to bytes."""
        return self.file_bits - sum(sum(level.parts.values()) for level in self.levels)


@dataclass(frozen=True)
class Measurement:
    """One picture through one codec at one setting.

    Attributes:
        image: name of the file without its ending.
        width: pixels.
        height: pixels.
        bytes: size of the whole compressed file, header included.
        psnr: dB, infinite if all pixels are equal.
        ms_ssim: at most 1; NaN for pictures with a side below 161 pixels.
        encode_seconds: wall time from pixels to bytes.
        decode_seconds: wall time from bytes to pixels.
        code_length: only for codecs that record it.
    """

    image: str
    width: int
    height: int
    bytes: int
    psnr: float
    ms_ssim: float
    encode_seconds: float
    decode_seconds: float
    code_length: CodeLength | None = None

    @property
    def bpp(self) -> float:
        """Bits per pixel, from the file."""
        return 8 * self.bytes / (self.width * self.height)

    @property
    def ms_ssim_db(self) -> float:
        """MS-SSIM in dB."""
        return ms_ssim_db(self.ms_ssim)


@dataclass(frozen=True)
class Point:
    """All pictures at one setting. A mean is the mean over pictures of the per-picture figure."""

    setting: float
    images: tuple[Measurement, ...]

    def mean(self, figure: str) -> float:
        """The mean over pictures of an attribute of `Measurement`, e.g. "bpp" or "psnr"."""
        return math.fsum(getattr(image, figure) for image in self.images) / len(self.images)


@dataclass(frozen=True)
class Curve:
    """One codec at all its settings.

    Attributes:
        codec: short name, unique in a study.
        label: name in tables and charts.
        description: the settings, in words.
        points: by setting, in the requested order.
    """

    codec: str
    label: str
    description: str
    points: tuple[Point, ...]

    def mean(self, figure: str) -> list[float]:
        """The mean figure at every point."""
        return [point.mean(figure) for point in self.points]

    def of_image(self, image: str, figure: str) -> list[float]:
        """One picture's figure at every point."""
        return [
            getattr(measurement, figure)
            for point in self.points
            for measurement in point.images
            if measurement.image == image
        ]


@dataclass(frozen=True)
class Study:
    """Several codecs on the same pictures.

    Attributes:
        title: the title, e.g. the folder's name.
        curves: one per codec, ours first.
        failures: the reason why a picture was left out, by file name.
    """

    title: str
    curves: tuple[Curve, ...]
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> list[str]:
        """Names of the pictures, in order."""
        return [image.image for image in self.curves[0].points[0].images] if self.curves else []

    def curve(self, codec: str) -> Curve:
        """The curve of one codec; `InputError` if the study has none."""
        for curve in self.curves:
            if curve.codec == codec:
                return curve
        names = ", ".join(curve.codec for curve in self.curves)
        raise InputError(f"{codec}: not among the codecs of this study ({names})")


def study_to_json(study: Study) -> dict[str, Any]:
    """Plain lists, numbers and strings; means beside every point; NaN and infinity become null."""
    curves = []
    for curve in study.curves:
        points = []
        for point in curve.points:
            means = {name: point.mean(name) for name in MEANS}
            images = [asdict(image) | {"bpp": image.bpp} for image in point.images]
            points.append({"setting": point.setting, "mean": means, "images": images})
        head = {"codec": curve.codec, "label": curve.label, "description": curve.description}
        curves.append(head | {"points": points})
    document: dict[str, Any] = {"format": FORMAT, "title": study.title, "curves": curves}
    if study.failures:
        document["failures"] = dict(study.failures)
    plain: dict[str, Any] = finite(document)
    return plain


MEANS = ("bpp", "psnr", "ms_ssim", "ms_ssim_db", "encode_seconds", "decode_seconds")
"""Figures whose means are written beside every point."""


def study_from_json(document: Mapping[str, Any]) -> Study:
    """The study that `study_to_json` wrote; null becomes NaN.

    Raises:
        InputError: the format is another one, or a field is missing.
    """
    if document.get("format") != FORMAT:
        raise InputError(f"not a {FORMAT!r} but {document.get('format')!r}; measure again")
    try:
        curves = tuple(_curve(curve) for curve in document["curves"])
        return Study(document["title"], curves, dict(document.get("failures", {})))
    except (KeyError, TypeError) as error:
        raise InputError(f"a study without {error}: measure again") from error


def load_study(path: Path) -> Study:
    """A study from a JSON file, or from the key "study" of an experiment's results.json."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    return study_from_json(document.get("study", document))


def finite(value: Any) -> Any:
    """A copy of nested lists and mappings, with None for every float that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(item) for item in value]
    return value


def _curve(document: Mapping[str, Any]) -> Curve:
    points = tuple(
        Point(point["setting"], tuple(_measurement(image) for image in point["images"]))
        for point in document["points"]
    )
    return Curve(document["codec"], document["label"], document["description"], points)


def _measurement(document: Mapping[str, Any]) -> Measurement:
    fields = {name: document[name] for name in Measurement.__dataclass_fields__}
    for name in ("psnr", "ms_ssim"):
        fields[name] = math.nan if fields[name] is None else fields[name]
    if fields["code_length"] is not None:
        length = dict(fields["code_length"])
        length["levels"] = tuple(LevelBits(**level) for level in length["levels"])
        fields["code_length"] = CodeLength(**length)
    return Measurement(**fields)
