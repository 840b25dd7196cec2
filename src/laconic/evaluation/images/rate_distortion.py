"""Codecs times pictures times settings: the measurements behind every curve."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from laconic.data.folders import list_images, load_rgb
from laconic.errors import ConfigError, InputError
from laconic.evaluation.anchors.classical import Codec
from laconic.evaluation.images.results import Curve, Measurement, Point, Study
from laconic.metrics import ms_ssim, psnr
from laconic.metrics.images import Image8
from laconic.progress import Progress, silent

Plan = Sequence[tuple[Codec, Sequence[float]]]
"""Codecs, each with the settings to measure."""


def rate_distortion(plan: Plan, folder: Path, progress: Progress = silent) -> Study:
    """Measure every codec of the plan on every picture of a folder.

    Args:
        plan: codecs with their settings; by convention ours is the first.
        folder: a folder of pictures, or one picture.
        progress: called after every measurement.

    Returns:
        The study; sizes are those of complete files. Pictures that cannot be read are left out and
        listed in its failures.

    Raises:
        InputError: there are no pictures, none can be read, or two have the same name.
        ConfigError: the plan is empty, or two codecs have the same name.
    """
    names = [codec.name for codec, _ in plan]
    if not plan or len(set(names)) != len(names) or not all(settings for _, settings in plan):
        raise ConfigError(f"{names}: give codecs of different names, each with settings")
    paths = list_images(folder)
    if len({path.stem for path in paths}) != len(paths):
        raise InputError(f"{folder}: two pictures share a name apart from the ending; rename one")
    pictures, failures = _read_all(paths)
    total = len(pictures) * sum(len(settings) for _, settings in plan)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    curves = tuple(_curve(codec, settings, pictures, tick) for codec, settings in plan)
    return Study(folder.name, curves, failures)


def _read_all(paths: Sequence[Path]) -> tuple[list[tuple[str, Image8]], dict[str, str]]:
    """Pictures by name without ending, and the errors of unreadable ones, by name.

    Raises:
        InputError: none can be read.
    """
    pictures: list[tuple[str, Image8]] = []
    failures: dict[str, str] = {}
    for path in paths:
        try:
            pictures.append((path.stem, load_rgb(path)))
        except InputError as error:
            failures[path.name] = str(error)
    if not pictures:
        raise InputError("; ".join(failures.values()))
    return pictures, failures


def measure_picture(codec: Codec, name: str, pixels: Image8, setting: float) -> Measurement:
    """Encode and decode one picture, and measure both.

    Args:
        codec: the codec.
        name: name of the picture.
        pixels: uint8 `(height, width, 3)`.
        setting: setting on the codec's own scale.

    Raises:
        InputError: the decoded picture has another size.
    """
    start = time.perf_counter()
    data = codec.encode(pixels, setting)
    middle = time.perf_counter()
    shown, length = codec.read(data)
    end = time.perf_counter()
    height, width, _ = pixels.shape
    return Measurement(
        image=name,
        width=width,
        height=height,
        bytes=len(data),
        psnr=psnr(pixels, shown),
        ms_ssim=ms_ssim(pixels, shown),
        encode_seconds=middle - start,
        decode_seconds=end - middle,
        code_length=length,
    )


def _curve(
    codec: Codec,
    settings: Sequence[float],
    pictures: Sequence[tuple[str, Image8]],
    tick: Callable[[], None],
) -> Curve:
    """One codec at all settings; a first, untimed round trip compiles and loads everything."""
    codec.decode(codec.encode(pictures[0][1], settings[0]))
    points = []
    for setting in settings:
        measurements = []
        for name, pixels in pictures:
            measurements.append(measure_picture(codec, name, pixels, setting))
            tick()
        points.append(Point(setting, tuple(measurements)))
    return Curve(codec.name, codec.label, codec.description, tuple(points))
