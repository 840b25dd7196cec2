"""Classical codecs to compare with, through Pillow: JPEG, WebP, AVIF, JPEG 2000, HEIF, JPEG XL.

Every codec in an evaluation implements `Codec`; ours is in `laconic.evaluation.images.ours`.
docs/evaluation.md explains the settings.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from PIL import Image, features

from laconic.data.plugins import load_plugin
from laconic.errors import ConfigError
from laconic.evaluation.images.results import CodeLength
from laconic.metrics.images import Image8


class Codec(Protocol):
    """The interface of a codec in an evaluation."""

    @property
    def name(self) -> str:
        """A short, unique name, e.g. "jpeg"."""

    @property
    def label(self) -> str:
        """The name in tables and charts, e.g. "JPEG 4:2:0"."""

    @property
    def description(self) -> str:
        """The settings, in words."""

    def encode(self, pixels: Image8, setting: float) -> bytes:
        """The complete file, with headers, of uint8 pixels `(height, width, 3)`."""

    def decode(self, data: bytes) -> Image8:
        """The decoded pixels."""

    def read(self, data: bytes) -> tuple[Image8, CodeLength | None]:
        """The decoded pixels, and the bits by part of the file if the codec records them."""


@final
@dataclass(frozen=True)
class Anchor:
    """A codec behind Pillow's `save` and `open`.

    Attributes:
        name: short name, as in `--against`.
        label: name in tables and charts.
        description: the settings in words.
        format: Pillow's name of the format.
        settings: the points measured by default, about 0.1 to 1.5 bits per pixel.
        options: keyword arguments of `save` at one setting.
        feature: feature that Pillow must be built with, if any.
        plugin: name in `laconic.data.plugins.PLUGINS` of the plugin that Pillow needs, if any.
        media_type: media type for data URIs; empty if browsers cannot show the format.
        setting_is_bpp: whether a setting is bits per pixel, and not a quality.
    """

    name: str
    label: str
    description: str
    format: str
    settings: tuple[float, ...]
    options: Callable[[float], Mapping[str, Any]]
    feature: str = ""
    plugin: str = ""
    media_type: str = ""
    setting_is_bpp: bool = False

    def encode(self, pixels: Image8, setting: float) -> bytes:
        """The complete file at one setting."""
        self.check()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=self.format, **self.options(setting))
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image8:
        """The pixels of a file."""
        self.check()
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))

    def read(self, data: bytes) -> tuple[Image8, CodeLength | None]:
        """The pixels; classical codecs do not record the bits of their parts."""
        return self.decode(data), None

    def check(self) -> None:
        """Register the format with Pillow.

        Raises:
            ConfigError: a package or a feature is missing; the message says what to install.
        """
        if self.plugin:
            load_plugin(self.plugin)
        if self.feature and not features.check(self.feature):
            raise ConfigError(f"this Pillow was built without {self.label}; install a newer one")


def _heif(setting: float) -> Mapping[str, Any]:
    parameters = {
        "tune": "psnr",
        "preset": "slower",
        "tu-intra-depth": "4",
        "x265:cbqpoffs": "-1",
        "x265:crqpoffs": "-1",
    }
    return {"quality": int(setting), "chroma": 444, "enc_params": parameters}


ANCHORS: Mapping[str, Anchor] = {
    anchor.name: anchor
    for anchor in (
        Anchor(
            "jpeg", "JPEG", "4:2:0, optimised Huffman tables", "JPEG",
            (5, 10, 15, 20, 30, 40, 50, 60, 75),
            lambda q: {"quality": int(q), "subsampling": "4:2:0", "optimize": True},
            media_type="image/jpeg",
        ),
        Anchor(
            "webp", "WebP", "4:2:0, method 6", "WEBP", (1, 5, 10, 20, 40, 60, 70, 80),
            lambda q: {"quality": int(q), "method": 6},
            feature="webp", media_type="image/webp",
        ),
        Anchor(
            "jpeg2000", "JPEG 2000", "irreversible 9/7, colour transform; setting = bits per pixel",
            "JPEG2000", (0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5),
            lambda bpp: {
                "quality_mode": "rates", "quality_layers": [24 / bpp],
                "irreversible": True, "mct": 1,
            },
            feature="jpg_2000", setting_is_bpp=True,
        ),
        Anchor(
            "avif", "AVIF", "4:4:4, tune=psnr, speed 4, one thread", "AVIF",
            (5, 10, 20, 30, 40, 50, 60),
            lambda q: {
                "quality": int(q), "subsampling": "4:4:4", "speed": 4, "max_threads": 1,
                "advanced": {"tune": "psnr"},
            },
            feature="avif", media_type="image/avif",
        ),
        Anchor(
            "heif", "HEIF (HEVC)", "x265 4:4:4, tune=psnr, preset=slower, set up as BPG",
            "HEIF", (5, 10, 15, 20, 25, 30, 35, 40, 45), _heif,
            plugin="heif",
        ),
        Anchor(
            "jxl", "JPEG XL", "VarDCT, effort 7", "JXL", (1, 5, 10, 20, 40, 60, 70, 80),
            lambda q: {"quality": int(q), "effort": 7},
            plugin="jxl",
        ),
    )
}  # fmt: skip
"""The classical codecs, by their names in `--against`."""


def find_anchors(names: Sequence[str]) -> list[Anchor]:
    """The anchors with these names, each ready to use.

    Raises:
        ConfigError: a name is unknown, or a package is not installed.
    """
    unknown = [name for name in names if name not in ANCHORS]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)}: unknown anchor; choose from {', '.join(ANCHORS)}")
    anchors = [ANCHORS[name] for name in dict.fromkeys(names)]
    for anchor in anchors:
        anchor.check()
    return anchors
