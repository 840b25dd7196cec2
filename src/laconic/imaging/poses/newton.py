"""Newton steps on poses: the last degrees of a search, and the posterior's width about each mode.

The log-likelihood's curvature is replaced by its expectation, which is positive:
2 sum Re(conj(d_i P) d_j P) c^2 / s^2. A step that lowers the score is taken back and shortened
(Levenberg's rule).

Source: the gradient is that of Ullrich's differentiable projection (5.4); the steps are ours.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.imaging.poses.posterior import Poses
from laconic.imaging.poses.samples import Middle, Observed
from laconic.imaging.rotations import distance, from_vectors

STEPS = 5
DAMPING = 1e-3
"""Of the first step, relative to the curvature."""
SAME_DEGREES, SAME_PIXELS = 1.0, 0.5
"""Modes nearer than this are one."""


@dataclass(frozen=True)
class _Local:
    """A pose with its score, gradient and curvature: by 3 angles in radians, 2 shifts in pixels."""

    rotations: Tensor
    shifts: Tensor
    score: Tensor
    gradient: Tensor
    curvature: Tensor


def polish(
    observed: Observed,
    middle: Middle,
    rotations: Tensor,
    shifts: Tensor,
    scores: Tensor,
    group: Tensor,
    *,
    reach: float,
    steps: int = STEPS,
) -> Poses:
    """The nearest maxima of the likelihood, and the posterior about them.

    Args:
        observed: the images.
        middle: the volume.
        rotations: (images, modes, 3, 3): where to start.
        shifts: (images, modes, 2).
        scores: (images, modes): -inf for a mode that is none.
        group: of the volume's symmetry.
        reach: largest angle of a step, in radians.
        steps: of Newton's method.
    """
    count, modes = scores.shape
    owners = torch.arange(count).repeat_interleave(modes)
    valid = torch.where(scores.flatten() > -math.inf)[0]
    owners = owners[valid]
    here = _locally(
        observed, middle, owners, rotations.flatten(0, 1)[valid], shifts.flatten(0, 1)[valid]
    )
    damping = torch.full((len(valid), 1), DAMPING, dtype=torch.float64)
    for _ in range(steps):
        here, damping = _step(observed, middle, owners, here, damping, reach)
    covariance = torch.linalg.inv(here.curvature)
    width = covariance[:, :3, :3].diagonal(dim1=-2, dim2=-1).sum(-1)
    mass = here.score + 0.5 * torch.logdet(2 * math.pi * covariance)

    def spread(values: Tensor, empty: float) -> Tensor:
        whole = values.new_full((count * modes, *values.shape[1:]), empty)
        whole[valid] = values
        return whole.reshape(count, modes, *values.shape[1:])

    turns = rotations.double().clone()
    turns.flatten(0, 1)[valid] = here.rotations
    return _weighed(turns, spread(here.shifts, 0), spread(mass, -math.inf), spread(width, 0), group)


def _weighed(
    rotations: Tensor, shifts: Tensor, mass: Tensor, variance: Tensor, group: Tensor
) -> Poses:
    """Modes in the order of their masses, each once."""
    mass, order = mass.sort(1, descending=True)
    rows = torch.arange(len(mass))[:, None]
    rotations, shifts, variance = (v[rows, order] for v in (rotations, shifts, variance))
    for mode in range(1, mass.shape[1]):
        angles = distance(
            rotations[:, :mode], rotations[:, mode : mode + 1].expand(-1, mode, -1, -1), group
        )
        moves = (shifts[:, :mode] - shifts[:, mode : mode + 1]).norm(dim=-1)
        again = ((angles < SAME_DEGREES) & (moves < SAME_PIXELS)).any(1)
        mass[:, mode] = mass[:, mode].masked_fill(again, -math.inf)
    return Poses(rotations, shifts, mass.softmax(1), variance, mass.logsumexp(1), group)


def _locally(
    observed: Observed, middle: Middle, owners: Tensor, rotations: Tensor, shifts: Tensor
) -> _Local:
    """The score of poses, its gradient, its expected curvature."""
    plane = observed.plane
    read = plane.tangents(middle, rotations)
    data = observed.data[owners] * plane.phases(shifts).conj()
    power = observed.power_of(owners)
    value = read[:, 0]
    wave = -2j * math.pi / plane.size * value
    slopes = torch.cat([read[:, 1:], (wave * plane.x)[:, None], (wave * plane.y)[:, None]], 1)
    left = data - power * value
    gradient = 2 * (left.conj()[:, None] * slopes).real.sum(-1)
    weighted = torch.view_as_real(slopes * power.sqrt()[:, None]).flatten(-2)
    curvature = 2 * weighted @ weighted.mT
    score = ((data + left).conj() * value).real.sum(-1)
    return _Local(
        rotations.double(), shifts.double(), score.double(), gradient.double(), curvature.double()
    )


def _step(
    observed: Observed,
    middle: Middle,
    owners: Tensor,
    here: _Local,
    damping: Tensor,
    reach: float,
) -> tuple[_Local, Tensor]:
    """One step for all poses, and the damping of the next one."""
    diagonal = here.curvature.diagonal(dim1=-2, dim2=-1)
    damped = here.curvature + torch.diag_embed(damping * diagonal + 1e-9)
    move = torch.linalg.solve(damped, here.gradient)
    angle = move[:, :3].norm(dim=1, keepdim=True)
    move = move * (reach / angle.clamp(min=reach))
    there = _locally(
        observed,
        middle,
        owners,
        from_vectors(move[:, :3]) @ here.rotations,
        here.shifts + move[:, 3:],
    )
    better = there.score > here.score
    pairs = ((getattr(there, name), getattr(here, name)) for name in vars(here))
    kept = [torch.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in pairs]
    return _Local(*kept), torch.where(better[:, None], damping / 10, damping * 10)
