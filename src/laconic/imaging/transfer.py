"""The microscope's contrast transfer function (CTF).

A frequency k is multiplied by sin(pi l D k^2 - pi / 2 C l^3 k^4 + p + arcsin A). Here l is the
electrons' wavelength, D the defocus along k's direction, C the spherical aberration, p the shift of
a phase plate, A the amplitude contrast. This is RELION's function for white particles: it is A at
k = 0.

Source: beyond Ullrich 5.3, which leaves it to future work.
"""

import math

import torch
from torch import Tensor

from laconic.imaging.slices import frequencies


def wavelength(voltage: Tensor) -> Tensor:
    """Of electrons, in angstroms, relativistic.

    Args:
        voltage: in kV.
    """
    volts = 1e3 * voltage
    return 12.2642598 / (volts * (1 + volts * 0.978475598e-6)).sqrt()


def contrast_transfer(
    size: int,
    pixel_size: float,
    defocus: Tensor,
    voltage: Tensor,
    aberration: Tensor,
    amplitude: Tensor,
    phase: Tensor | None = None,
) -> Tensor:
    """The functions of some images, on half spectra.

    Args:
        size: of the images, in pixels.
        pixel_size: in angstroms.
        defocus: (images, 3): along two axes in angstroms (positive: underfocus), the angle of the
            first one to the x axis in degrees.
        voltage: (images,), in kV.
        aberration: (images,), spherical, in mm.
        amplitude: (images,): contrast, in [0, 1].
        phase: (images,): shift in degrees; None: 0.

    Returns:
        (images, size, size // 2 + 1), of the precision of `defocus`.
    """
    y, x = (values / pixel_size for values in frequencies(size, defocus))
    square = x.square() + y.square()
    angle = torch.atan2(y, x)
    column = (slice(None), None, None)
    length = wavelength(voltage)[column]
    first, second, axis = defocus.unbind(-1)
    mean, half = ((first + second) / 2)[column], ((first - second) / 2)[column]
    along = mean + half * torch.cos(2 * (angle - torch.deg2rad(axis)[column]))
    turn = math.pi * length * along * square
    turn = turn - math.pi / 2 * 1e7 * aberration[column] * length**3 * square.square()
    turn = turn + torch.arcsin(amplitude)[column]
    if phase is not None:
        turn = turn + torch.deg2rad(phase)[column]
    return torch.sin(turn)
