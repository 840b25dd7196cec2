"""What the colours of a picture mean: the profile, found, compared with sRGB, and applied.

A PNG file may say it in other chunks than a profile. The first of these that is there counts: cICP,
iCCP (a profile), sRGB, gAMA and cHRM. Profiles are made of cICP, gAMA and cHRM, so that they are
kept or applied as any other.

Source: W3C, Portable Network Graphics (third edition), 4.3 and 11.3.2; ITU-T H.273, tables 2 and 3.
"""

import io
import warnings
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

from laconic.codecs.image.icc import BT_709, D65, SRGB, Curve, Primaries, make_profile

FAILURES: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
"""What Pillow raises for a profile that is damaged or does not fit."""
TOLERANCE: Final = 1
"""Of 255: a profile that changes no colour by more is that of sRGB."""
GREY_MODES: Final = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
PRIMARIES: Final = {
    1: BT_709,
    5: Primaries(D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: Primaries(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Primaries(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: Primaries(D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: Primaries(D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Of H.273, by number."""
BT_709_CURVE: Final = Curve(1 / 0.45, 0.099, 4.5, 0.081)
CURVES: Final = {
    **dict.fromkeys((1, 6, 14, 15), BT_709_CURVE),
    4: Curve(2.2),
    5: Curve(2.8),
    8: Curve(1.0),
    13: SRGB,
}
"""Transfer characteristics of H.273, by number; without those for high dynamic range."""
RGB_MATRIX, FULL_RANGE = 0, 1
SRGB_GAMMA: Final = 0.45455
"""What gAMA says of sRGB, whose curve is no power."""


class LossyInputWarning(UserWarning):
    """Something of the input is given up before coding begins."""


def find_profile(image: Image.Image) -> bytes:
    """The colour profile of an image, or one made of what a PNG file says; empty for sRGB.

    A profile of the file's own is given as it is, also where it is that of sRGB. What cannot be
    understood is left out with a warning.
    """
    info: dict[Any, Any] = image.info
    grey = image.mode in GREY_MODES
    if "cicp" in info:
        made = _from_cicp(tuple(info["cicp"]), grey)
        if made is not None:
            return made
    if profile := info.get("icc_profile"):
        return bytes(profile)
    if "srgb" in info or not {"gamma", "chromaticity"} & info.keys():
        return b""
    return _from_gamma(info.get("gamma"), info.get("chromaticity"), grey)


@lru_cache(maxsize=32)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile shows every colour, or grey, as sRGB does: by its primaries and curves."""
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    space = colour_space(profile)
    if space not in ("RGB", "GRAY"):
        return False
    colours = greys if space == "GRAY" else np.concatenate([greys, lattice])
    pixels = Image.fromarray(colours[None])
    shown = _apply(pixels.convert("L") if space == "GRAY" else pixels, profile)
    if shown is None:
        return False
    return bool((np.abs(np.asarray(shown).astype(int) - colours) <= TOLERANCE).all())


def colour_space(profile: bytes) -> str:
    """What samples a profile is for: "RGB", "GRAY", "CMYK", ...; "" where it cannot be read."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return str(opened.profile.xcolor_space).strip()
    except FAILURES:
        return ""


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An image with its colours converted to sRGB; alpha stays, grey stays grey.

    Args:
        image: of mode L, LA, RGB, RGBA or CMYK.
        profile: its own, or empty; CMYK without one, or with one that cannot be applied, is
            converted by Pillow's plain rule. A warning says what cannot be applied.

    Returns:
        Mode L, LA, RGB or RGBA, without a profile.
    """
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    grey = image.mode in ("L", "LA")
    flat = image if image.mode == "CMYK" else image.convert("L" if grey else "RGB")
    if grey and colour_space(profile) == "RGB":
        flat = flat.convert("RGB")
    shown = _apply(flat, profile) if profile else None
    if shown is None:
        if profile:
            _warn("the colour profile cannot be applied and is left out")
        shown = image.convert("RGB") if image.mode == "CMYK" else flat
    if grey and shown.mode == "RGB":
        shown = shown.getchannel("G")
    if alpha is not None:
        shown.putalpha(alpha)
    shown.info.pop("icc_profile", None)
    return shown


def _apply(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Colours of a profile as RGB of sRGB; None where it does not fit the image or is damaged."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except FAILURES:
        return None


def _from_cicp(numbers: tuple[int, ...], grey: bool) -> bytes | None:
    """A profile of the chunk cICP; None, with a warning, where there is none that says the same."""
    primaries, transfer, matrix, full = numbers
    good = matrix == RGB_MATRIX and full == FULL_RANGE
    if not good or primaries not in PRIMARIES or transfer not in CURVES:
        high = {16: " (PQ, high dynamic range)", 18: " (HLG, high dynamic range)"}.get(transfer, "")
        _warn(f"what the chunk cICP says of the colours, {numbers}{high}, is left out")
        return None
    return _make(CURVES[transfer], PRIMARIES[primaries], grey)


def _from_gamma(gamma: Any, chromaticity: Any, grey: bool) -> bytes:
    """A profile of the chunks gAMA and cHRM; empty, with a warning, where they are invalid."""
    try:
        curve = SRGB if gamma is None or abs(gamma - SRGB_GAMMA) < 1e-3 else Curve(1 / gamma)
        primaries = BT_709
        if chromaticity is not None:
            x, y = tuple(chromaticity)[::2], tuple(chromaticity)[1::2]
            primaries = Primaries(*zip(x, y, strict=True))
        return _make(curve, primaries, grey)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        _warn(f"what the chunks gAMA and cHRM say of the colours is left out: {error}")
        return b""


def _make(curve: Curve, primaries: Primaries, grey: bool) -> bytes:
    """A profile; empty where it is that of sRGB."""
    if curve == SRGB and (grey or primaries == BT_709):
        return b""
    profile = make_profile(curve, None if grey else primaries)
    return b"" if is_srgb(profile) else profile


def _warn(message: str) -> None:
    warnings.warn(message, LossyInputWarning, stacklevel=5)
