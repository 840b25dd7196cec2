"""Published rate-distortion curves on Kodak, read from the data folder's `anchors/kodak-rd`.

These are means over all 24 Kodak pictures. A mean over kodim01-16 is another quantity, so charts
show them beside our curves only for orientation; BD-rates compare codecs on the same pictures.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.errors import InputError
from laconic.metrics import ms_ssim_db

Line = tuple[tuple[float, float], ...]
"""Points of a curve: bits per pixel and a quality in dB."""


@dataclass(frozen=True)
class PublishedCurve:
    """A curve from the literature.

    Attributes:
        label: name in charts.
        source: the source, and the pictures of the mean.
        psnr: points by rising rate; empty if not published.
        ms_ssim_db: points by rising rate; empty if not published.
    """

    label: str
    source: str
    psnr: Line = ()
    ms_ssim_db: Line = ()


COMPRESSAI = "CompressAI results, mean over the 24 Kodak pictures"
FLAMICH = "Flamich, Havasi & Hernández-Lobato 2020, read from the plots"
CLASSICAL = "measured by this project on kodim01-16"


def load_published(anchors: Path) -> dict[str, PublishedCurve]:
    """Every curve in the folder, by name.

    Names: a CompressAI file's stem ("vtm", "paper-elic2022_mse"); the methods of the relative
    entropy coding paper as "flamich2020/irec-opt-mse"; our own rows as "classical/jpeg420".

    Args:
        anchors: the folder `anchors/kodak-rd`.

    Raises:
        InputError: the folder does not exist, or a file is unreadable.
    """
    if not anchors.is_dir():
        raise InputError(f"{anchors}: no such folder; it should hold compressai/ and more")
    curves = {path.stem: _compressai(path) for path in sorted(anchors.glob("compressai/*.json"))}
    irec = anchors / "irec-flamich2020.json"
    if irec.is_file():
        for name, row in _read(irec)["kodak_average"].items():
            lines = [_line(row["bpp"], row[key]) for key in ("psnr-rgb", "ms-ssim-rgb-db")]
            source = f"{FLAMICH}; mean over the 24 Kodak pictures"
            curves[f"flamich2020/{name}"] = PublishedCurve(name, source, *lines)
    classical = anchors / "classical-kodim01-16.json"
    if classical.is_file():
        for name, rows in _read(classical)["lossy"].items():
            columns = {key: [row[key] for row in rows] for key in ("bpp", "psnr", "msssim_db")}
            lines = [_line(columns["bpp"], columns[key]) for key in ("psnr", "msssim_db")]
            curves[f"classical/{name}"] = PublishedCurve(name, CLASSICAL, *lines)
    return curves


def load_flamich_image(anchors: Path, image: str) -> dict[str, PublishedCurve]:
    """The source's curves of one picture, by method; empty if it has none."""
    methods = _read(anchors / "irec-flamich2020.json")["per_image"].get(image, {})
    return {
        name: PublishedCurve(
            name,
            f"{FLAMICH}; {image}",
            tuple((x, y) for x, y in row.get("psnr-rgb", ())),
            tuple((x, y) for x, y in row.get("ms-ssim-rgb-db", ())),
        )
        for name, row in methods.items()
    }


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def _line(bpp: Sequence[float], quality: Sequence[float]) -> Line:
    return tuple(sorted(zip(map(float, bpp), map(float, quality), strict=True)))


def _compressai(path: Path) -> PublishedCurve:
    document = _read(path)
    results = document["results"]
    psnr = results.get("psnr-rgb", [])
    similarity = results.get("ms-ssim-rgb", [])
    # Curves read from papers give MS-SSIM on the scale in dB already.
    decibels = results.get("ms-ssim-db-rgb") or [ms_ssim_db(float(value)) for value in similarity]
    return PublishedCurve(
        str(document.get("name", path.stem)),
        COMPRESSAI,
        _line(results["bpp"], psnr) if psnr else (),
        _line(results["bpp"], decibels) if decibels else (),
    )
