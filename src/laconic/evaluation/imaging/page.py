"""The page of `laconic reconstruct --report`: one HTML file that needs no network."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.errors import MissingPackageError
from laconic.evaluation.imaging.reconstruction import Reconstruction, variance_map
from laconic.evaluation.imaging.surface import draw_surface
from laconic.evaluation.report.page import Version
from laconic.evaluation.report.templates import render_template
from laconic.imaging.posterior import VolumePosterior, over_shells
from laconic.metrics.fourier_shells import resolution
from laconic.metrics.half_maps import (
    MaskedCorrelation,
    local_resolution,
    masked_correlation,
    smooth,
    soft_mask,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SURFACE_LEVEL = 3.0
"""Of the drawn surface, in standard deviations of the density above its mean."""
MASK_WAVES = 3.0
"""The density that the mask follows is smoothed to so many times its resolution."""


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("reports need", "matplotlib", "eval") from error
    return Figure(figsize=(width, height), layout="constrained")


def render(title: str, found: Reconstruction, rotations: Tensor) -> str:
    """The whole page.

    Args:
        title: heading.
        found: what was reconstructed.
        rotations: (images, 3, 3): of all particles.
    """
    volume = found.whole.posterior.volume()
    mask = _mask(volume, found)
    generator = torch.Generator().manual_seed(0)
    curves = masked_correlation(*found.halves, mask, generator)
    pictures = _pictures(found, rotations, mask, curves)
    facts = _facts(found, resolution(curves.corrected, found.pixel_size, 0.143))
    subtitle = f"{found.images:,} images of {len(volume)} x {len(volume)} pixels"
    return render_template(
        "volume.html", title=title, subtitle=subtitle, facts=facts, pictures=pictures
    )


def _pictures(
    found: Reconstruction, rotations: Tensor, mask: Tensor, curves: MaskedCorrelation
) -> list[tuple[str, str, str]]:
    """Headings, words and figures."""
    volume = found.whole.posterior.volume().numpy()
    return [
        (
            "Central slices",
            "The posterior's mean through the box's middle: along z, y and x.",
            _slices(volume),
        ),
        (
            "Surface",
            f"Where the density is {SURFACE_LEVEL:g} standard deviations above its mean.",
            _surfaces(volume),
        ),
        (
            "Correlation by wavelength",
            "Half sets without a mask, within it, and corrected for it by random phases; "
            "a/(1+a) of the posterior and its square root, which estimates the correlation with "
            "the truth.",
            _curves(found, curves.corrected, curves.masked),
        ),
        (
            "Local resolution",
            "Wavelength in angstroms at which the half maps' local correlation falls below 0.5.",
            _local(found, mask),
        ),
        (
            "Angular coverage",
            "Directions of the beam in the volume: angle about z, and cosine of the angle to z.",
            _coverage(rotations),
        ),
        (
            "Where the posterior stayed at the prior",
            "Variance over the prior's, in central slices of Fourier space: 1 where no image has "
            "shown anything, 0 where all is known.",
            _unseen(found),
        ),
    ]


def _facts(found: Reconstruction, corrected: float) -> list[tuple[str, str]]:
    posterior = found.whole.posterior
    share = float((prior_share(posterior, found.whole.prior) > 0.5).double().mean())
    return [
        ("Pixel", f"{found.pixel_size:g} angstroms"),
        ("Half sets, 0.143", f"{found.half_resolution:.2f} angstroms"),
        ("Half sets within the mask, corrected, 0.143", f"{corrected:.2f} angstroms"),
        ("Posterior, a/(1+a) at 0.143", f"{found.posterior_resolution:.2f} angstroms"),
        ("Coefficients that stayed at the prior", f"{100 * share:.1f} %"),
    ]


def prior_share(posterior: VolumePosterior, prior: Tensor) -> Tensor:
    """Variance over the prior's, of each coefficient: (size, size, size // 2 + 1)."""
    return posterior.variance / over_shells(prior, posterior.size)


def _mask(volume: Tensor, found: Reconstruction) -> Tensor:
    """A soft mask about the density, smoothed to a coarse resolution."""
    width = MASK_WAVES * found.half_resolution / found.pixel_size / (2 * torch.pi)
    return soft_mask(smooth(volume, min(width, len(volume) / 16)))


def _slices(volume: NDArray[np.float32]) -> str:
    middle = len(volume) // 2
    sheet = new_figure(10.5, 3.6)
    for axis, axes in zip("zyx", sheet.subplots(1, 3), strict=True):
        axes.imshow(volume.take(middle, "zyx".index(axis)), cmap="gray")
        axes.set(title=f"along {axis}", xticks=[], yticks=[])
    return _uri("Central slices", sheet)


def _surfaces(volume: NDArray[np.float32]) -> str:
    level = float(volume.mean() + SURFACE_LEVEL * volume.std())
    sheet = new_figure(10.5, 3.6)
    for axis, axes in zip("zyx", sheet.subplots(1, 3), strict=True):
        turned = np.moveaxis(volume, "zyx".index(axis), 0)
        axes.imshow(draw_surface(np.ascontiguousarray(turned), level), cmap="gray", vmin=0, vmax=1)
        axes.set(title=f"along {axis}", xticks=[], yticks=[])
    return _uri("Surface", sheet)


def _curves(found: Reconstruction, corrected: Tensor, masked: Tensor) -> str:
    ratio = found.whole.posterior.spectral_snr()
    lines = {
        "half sets": found.correlation,
        "half sets, masked": masked,
        "half sets, masked and corrected": corrected,
        "a/(1+a)": ratio / (1 + ratio),
        "square root of a/(1+a)": (ratio / (1 + ratio)).sqrt(),
    }
    sheet = new_figure(7.5, 4.4)
    axes = sheet.subplots()
    for label, curve in lines.items():
        shells = np.arange(1, len(curve)) / (2 * found.pixel_size * (len(curve) - 1))
        axes.plot(shells, curve[1:].numpy(), label=label, linewidth=1.4)
    for threshold in (0.143, 0.5):
        axes.axhline(threshold, color="0.7", linewidth=0.8)
    axes.set(xlabel="1 / wavelength, 1 / angstrom", ylabel="correlation", ylim=(-0.15, 1.05))
    axes.legend(fontsize=8)
    return _uri("Correlation by wavelength", sheet)


def _local(found: Reconstruction, mask: Tensor) -> str:
    local = local_resolution(*found.halves, found.pixel_size)
    shown = torch.where(mask > 0.5, local, torch.nan).numpy()
    return _three("Local resolution", shown, "angstroms", cmap="viridis_r")


def _coverage(rotations: Tensor) -> str:
    beam = rotations[:, 2].double()
    angle = torch.rad2deg(torch.atan2(beam[:, 1], beam[:, 0]))
    sheet = new_figure(7.5, 3.8)
    axes = sheet.subplots()
    shown = axes.hist2d(
        angle.numpy(), beam[:, 2].numpy(), bins=(36, 18), range=((-180, 180), (-1, 1))
    )[3]
    axes.set(xlabel="angle about z, degrees", ylabel="cosine of the angle to z")
    sheet.colorbar(shown, ax=axes, label="images")
    return _uri("Angular coverage", sheet)


def _unseen(found: Reconstruction) -> str:
    posterior = found.whole.posterior
    share = prior_share(posterior, found.whole.prior)
    whole = variance_map(VolumePosterior(posterior.mean, share, posterior.size))
    return _three("Variance over the prior's", whole, "variance / prior", vmin=0, vmax=1)


def _three(name: str, volume: NDArray[np.float32], label: str, **how: Any) -> str:
    """Central slices along three axes with one scale of colours."""
    limits = {"vmin": np.nanmin(volume), "vmax": np.nanmax(volume)} if "vmin" not in how else {}
    sheet = new_figure(10.5, 3.4)
    panels = sheet.subplots(1, 3)
    for axis, axes in zip("zyx", panels, strict=True):
        shown = axes.imshow(volume.take(len(volume) // 2, "zyx".index(axis)), **limits, **how)
        axes.set(title=f"along {axis}", xticks=[], yticks=[])
    sheet.colorbar(shown, ax=panels, label=label)
    return _uri(name, sheet)


def _uri(name: str, sheet: "Figure") -> str:
    """A figure as an address that needs no network."""
    buffer = io.BytesIO()
    sheet.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return Version(name, "image/png", buffer.getvalue()).uri
