"""Rotations: matrices from angles and from vectors, random ones, symmetries, distances.

A matrix maps coordinates (x, y, z) of the volume to those of the image. RELION writes it as three
angles in degrees (rot, tilt, psi): passive, intrinsic rotations about z, y and z. SciPy's
`Rotation.from_euler("ZYZ", ...)` is the active rotation, the transpose of ours.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from laconic.errors import InputError

GOLDEN: Final = (1 + math.sqrt(5)) / 2
POLYHEDRAL: Final[Mapping[str, Sequence[tuple[int, tuple[float, float, float]]]]] = {
    "T": ((3, (0, 0, 1)), (2, (0, math.sqrt(2), 1))),
    "O": ((4, (0, 0, 1)), (3, (1, 1, 1))),
    "I1": ((2, (0, 0, 1)), (5, (GOLDEN, 0, -1)), (3, (GOLDEN**2, 1, 0))),
    "I2": ((2, (0, 0, 1)), (5, (1, 0, GOLDEN)), (3, (0, 1, GOLDEN**2))),
    "I3": ((5, (0, 0, 1)), (2, (-1, 0, GOLDEN))),
    "I4": ((5, (0, 0, 1)), (2, (1, 0, GOLDEN))),
}
"""Folds and axes of rotations whose products are the group.

T has a threefold axis on z; O its fourfold axes on x, y and z; I1 and I2 twofold axes on these,
with a fivefold one in the plane of x and z, nearer to x in I1 and nearer to z in I2; I3 and I4 a
fivefold axis on z and a twofold one in the plane of x and z, at opposite sides of z. Source:
Heymann, Chagoyen & Belnap, "Common conventions for interchange and archiving of three-dimensional
electron microscopy information in structural biology", 2005; RELION's documentation.
"""
SAME: Final = 1e-6
"""Largest difference of two entries of what is one rotation."""


def from_angles(angles: Tensor) -> Tensor:
    """Rotation matrices of RELION's angles.

    Args:
        angles: (..., 3): rot, tilt, psi in degrees.

    Returns:
        (..., 3, 3), differentiable: Rz(psi) Ry(tilt) Rz(rot), each of them passive.
    """
    rot, tilt, psi = torch.deg2rad(angles).unbind(-1)
    return _passive_z(psi) @ _passive_y(tilt) @ _passive_z(rot)


def to_angles(matrices: Tensor) -> Tensor:
    """RELION's angles of rotation matrices; where tilt is 0 or 180 degrees, rot is 0.

    Args:
        matrices: (..., 3, 3).

    Returns:
        (..., 3): rot, tilt, psi in degrees; tilt in [0, 180], the others in [-180, 180].
    """
    sine = torch.hypot(matrices[..., 2, 0], matrices[..., 2, 1])
    tilt = torch.atan2(sine, matrices[..., 2, 2])
    is_polar = sine < 1e-6
    rot = torch.atan2(matrices[..., 2, 1], matrices[..., 2, 0])
    psi = torch.atan2(matrices[..., 1, 2], -matrices[..., 0, 2])
    # Only psi + rot (or psi - rot) matters there.
    polar = torch.atan2(matrices[..., 0, 1], matrices[..., 1, 1])
    rot = torch.where(is_polar, torch.zeros_like(rot), rot)
    psi = torch.where(is_polar, polar, psi)
    return torch.rad2deg(torch.stack([rot, tilt, psi], -1))


def from_vectors(vectors: Tensor) -> Tensor:
    """Rotation matrices of rotation vectors, by the exponential map.

    Args:
        vectors: (..., 3): axis times angle in radians; the rotation is active and right-handed.

    Returns:
        (..., 3, 3), differentiable everywhere.
    """
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    exponential: Tensor = torch.linalg.matrix_exp(cross.reshape(*cross.shape[:-1], 3, 3))
    return exponential


def from_quaternions(quaternions: Tensor) -> Tensor:
    """Rotation matrices of quaternions (w, x, y, z) of any length: (..., 4) -> (..., 3, 3)."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def uniform(number: int, generator: torch.Generator | None = None) -> Tensor:
    """Rotations drawn uniformly over all: (number, 3, 3), float64."""
    return from_quaternions(torch.randn(number, 4, generator=generator, dtype=torch.float64))


def cone(number: int, half_angle: float, generator: torch.Generator | None = None) -> Tensor:
    """Rotations whose beam lies within a cone about the volume's z axis.

    The beam's direction is uniform over the cap, the rotation within the plane of the image is
    uniform.

    Args:
        number: of rotations.
        half_angle: of the cone, in degrees, in (0, 180].
        generator: of random numbers.

    Returns:
        (number, 3, 3), float64.

    Raises:
        InputError: the angle is out of range.
    """
    if not 0 < half_angle <= 180:
        raise InputError(f"half_angle: {half_angle} is not in (0, 180] degrees")
    draws = torch.rand(number, 3, generator=generator, dtype=torch.float64)
    cosine = 1 - draws[:, 1] * (1 - math.cos(math.radians(half_angle)))
    tilt = torch.rad2deg(torch.arccos(cosine))
    return from_angles(torch.stack([360 * draws[:, 0] - 180, tilt, 360 * draws[:, 2] - 180], -1))


def symmetry(name: str) -> Tensor:
    """The rotations that leave a symmetric volume as it is.

    Args:
        name: Schoenflies symbol: "C1", "C7", "D7", ...: the main axis is z, the second one x; "T",
            "O", "I1" to "I4": axes as RELION lays them (`POLYHEDRAL`).

    Returns:
        (order, 3, 3), float64, the identity first; a pose R and R S of a symmetric volume give the
        same image.

    Raises:
        InputError: another symbol.
    """
    if name.upper() in POLYHEDRAL:
        return _closure([_turn(fold, axis) for fold, axis in POLYHEDRAL[name.upper()]])
    match = re.fullmatch(r"([CDcd])([1-9][0-9]*)", name)
    if match is None:
        raise InputError(
            f"symmetry: '{name}' is not C<n>, D<n> or one of {', '.join(POLYHEDRAL)}, e.g. C1 or D7"
        )
    fold = int(match[2])
    turns = torch.zeros(fold, 3, dtype=torch.float64)
    turns[:, 2] = torch.arange(fold, dtype=torch.float64) * (2 * math.pi / fold)
    group = from_vectors(turns)
    if match[1] in "Dd":
        flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
        group = torch.cat([group, group @ flip])
    return group


def _turn(fold: int, axis: Sequence[float]) -> Tensor:
    """The rotation by a whole turn over `fold` about an axis of any length: (3, 3)."""
    unit = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0)
    return from_vectors(unit * (2 * math.pi / fold))


def _closure(generators: Sequence[Tensor]) -> Tensor:
    """All products of some rotations: (order, 3, 3), the identity first."""
    group = torch.eye(3, dtype=torch.float64)[None]
    done = 0
    while done < len(group):
        for generator in generators:
            product = group[done] @ generator
            if float((group - product).abs().amax((1, 2)).min()) > SAME:
                group = torch.cat([group, product[None]])
        done += 1
    return group


def distance(first: Tensor, second: Tensor, group: Tensor | None = None) -> Tensor:
    """Angle between rotations in degrees, for symmetric volumes the least over the group.

    Args:
        first: (..., 3, 3).
        second: of the same shape.
        group: (order, 3, 3) of `symmetry`.

    Returns:
        (...) in [0, 180].
    """
    relative = first.mT @ second
    if group is not None:
        relative = relative.unsqueeze(-3) @ group.to(relative).mT
    # The sine of half the angle is accurate for small angles, where the cosine is not.
    identity = torch.eye(3, dtype=relative.dtype, device=relative.device)
    half = (relative - identity).square().sum((-1, -2)).sqrt() / (2 * math.sqrt(2))
    angle = torch.rad2deg(2 * torch.arcsin(half.clamp(max=1)))
    return angle if group is None else angle.amin(-1)


def _passive_z(angle: Tensor) -> Tensor:
    c, s = torch.cos(angle), torch.sin(angle)
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    return torch.stack([c, s, zero, -s, c, zero, zero, zero, one], -1).reshape(*c.shape, 3, 3)


def _passive_y(angle: Tensor) -> Tensor:
    c, s = torch.cos(angle), torch.sin(angle)
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    return torch.stack([c, zero, -s, zero, one, zero, s, zero, c], -1).reshape(*c.shape, 3, 3)
