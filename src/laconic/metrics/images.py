"""The similarity of two pictures: PSNR and MS-SSIM of 8-bit RGB images."""

import math
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laconic.errors import InputError, MissingPackageError

Image8 = NDArray[np.uint8]
"""An 8-bit RGB picture, shape `(height, width, 3)`."""

PEAK = 255.0
"""The largest value of an 8-bit sample."""

SMALLEST_MS_SSIM_SIDE = 161
"""Five scales and an 11-pixel window need `(11 - 1) * 2**4 + 1` pixels on the shorter side."""


def _checked(a: NDArray[Any], b: NDArray[Any]) -> tuple[Image8, Image8]:
    """Both arrays; `InputError` unless they are 8-bit RGB pictures of one size."""
    for name, array in (("first", a), ("second", b)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise InputError(
                f"the {name} picture is {array.dtype} of shape {array.shape}; "
                "give uint8 arrays of shape (height, width, 3)"
            )
    if a.shape != b.shape:
        raise InputError(f"pictures of sizes {a.shape} and {b.shape} cannot be compared")
    if a.size == 0:
        raise InputError(f"pictures of shape {a.shape} hold no pixels")
    return a, b


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of one picture, in dB; infinite if both are equal.

    Formula: 10 log10(255² / mean (a - b)²), the mean over all pixels and the three channels.

    Args:
        a: uint8 `(height, width, 3)`.
        b: uint8, the same shape.

    Returns:
        dB. For several pictures, average the dB, not the squared errors.

    Raises:
        InputError: other dtype, other shape, or two sizes.

    >>> black = np.zeros((4, 4, 3), np.uint8)
    >>> round(psnr(black, black + np.uint8(1)), 3)
    48.131
    """
    a, b = _checked(a, b)
    mean_square = float(np.mean(np.square(a.astype(np.float64) - b)))
    return math.inf if mean_square == 0 else 10 * math.log10(PEAK**2 / mean_square)


def ms_ssim(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Multi-scale structural similarity of one picture, at most 1.

    Five scales, 11-pixel Gaussian window, the three RGB channels averaged, as `pytorch_msssim`
    defines it. A picture with a side below 161 pixels is too small for five scales. A value from
    fewer scales would not be comparable, so the result is NaN.

    Args:
        a: uint8 `(height, width, 3)`.
        b: uint8, the same shape.

    Returns:
        A number up to 1 (equal pictures), or NaN for small pictures.

    Raises:
        InputError: other dtype, other shape, or two sizes.
        ConfigError: the `eval` extra is not installed.

    Source: Wang, Simoncelli & Bovik 2003.
    """
    a, b = _checked(a, b)
    if min(a.shape[:2]) < SMALLEST_MS_SSIM_SIDE:
        return math.nan
    pytorch_msssim = load_ms_ssim()
    import torch

    def batch(image: Image8) -> torch.Tensor:
        return torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))

    with torch.inference_mode():
        return float(pytorch_msssim.ms_ssim(batch(a), batch(b), data_range=PEAK))


def load_ms_ssim() -> ModuleType:
    """The package that computes MS-SSIM; load it before work that takes long.

    Raises:
        MissingPackageError: the `eval` extra is not installed.
    """
    try:
        import pytorch_msssim
    except ImportError as error:
        raise MissingPackageError("MS-SSIM needs", "pytorch-msssim", "eval") from error
    module: ModuleType = pytorch_msssim
    return module


def ms_ssim_db(value: float) -> float:
    """MS-SSIM in dB, the scale of plotted curves; infinite at 1.

    Formula: -10 log10(1 - value).

    >>> round(ms_ssim_db(0.99), 6)
    20.0
    """
    return math.inf if value >= 1 else -10 * math.log10(1 - value)
