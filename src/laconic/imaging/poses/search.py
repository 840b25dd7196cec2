"""The search for images' poses: all rotations at low frequencies, then branch and bound.

At each level the grid's spacing halves while the band doubles. A pose is kept if its score, plus a
bound of what the nearest grid point may lose to the true pose, comes within a factor of likelihood
of the best: under the model, a likelihood ratio of 1 / e against the true pose has probability e at
most (Markov's inequality). Newton steps end it.

Source: the bound is ours; Ullrich 5.6 names branch and bound as what should replace gradients.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging.poses import kernels
from laconic.imaging.poses.grids import rotation_grid, shift_grid, turned
from laconic.imaging.poses.newton import polish
from laconic.imaging.poses.posterior import Poses
from laconic.imaging.poses.samples import Middle, Observed, Plane, axes_of
from laconic.imaging.rotations import distance, from_vectors, symmetry, uniform

BAND_TIMES_SPACING = 60.0
"""Band of a level times its spacing in degrees: the phase at the particle's edge is about 1."""
CHUNK = 2**24
"""Scores that are computed at once."""
PROBES = 64
"""Rotations by which a grid's loss is estimated."""


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        spacing: of the first grid, in degrees.
        reach: largest shift in pixels.
        kept: most rotations of an image that a level keeps.
        modes: most poses of an image that are reported.
        doubt: chance that the true pose is excluded, under the model.
    """

    spacing: float = 7.5
    reach: float = 3.0
    kept: int = 8
    modes: int = 4
    doubt: float = 1e-3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.reach) and self.reach >= 0):
            raise InputError(f"shifts: {self.reach:g} pixels is negative or not finite")
        if not 0 < self.doubt < 1:
            raise InputError(f"doubt: {self.doubt:g} is not in (0, 1)")


@dataclass(frozen=True)
class _Candidates:
    """Poses of images: rotations (images, kept, 3, 3), shifts (images, kept, 2), scores."""

    rotations: Tensor
    shifts: Tensor
    scores: Tensor


class Search:
    """A search for poses in one volume.

    Args:
        spectrum: of the volume, by `slices.to_spectrum`.
        size: of the images.
        noise: (size // 2 + 1,): variances of shells, of orthonormal coefficients.
        band: largest radius of frequencies that are compared.
        settings: how.
        group: the volume's symmetry, by name.
    """

    def __init__(
        self,
        spectrum: Tensor,
        size: int,
        noise: Tensor,
        band: float,
        settings: SearchSettings,
        group: str = "C1",
    ) -> None:
        self.settings, self.noise, self.group = settings, noise, symmetry(group)
        self.plane = Plane.within(size, band)
        self.middle = Middle.of(spectrum, size, band)
        first = min(band, BAND_TIMES_SPACING / settings.spacing)
        self.bands = [first]
        while self.bands[-1] < band:
            self.bands.append(min(band, 2 * self.bands[-1]))
        self.step = min(size / (4 * first), settings.reach) or 1.0
        self.grid = rotation_grid(settings.spacing, self.group)
        self.shifts = shift_grid(settings.reach, self.step)
        self.losses: list[float] = [self._loss(level) for level in range(len(self.bands))]
        low = self.plane.narrowed(first)
        slices = low.read(Middle.of(spectrum, size, first), self.grid)
        self._low = low
        self._matrix = torch.cat([slices.real, slices.imag], 1).mT.contiguous()
        self._squares = slices.abs().square().mT.contiguous()

    def __call__(self, images: Tensor, transfer: Tensor | None = None) -> Poses:
        """The posterior of images' poses, by its modes.

        Args:
            images: (images, size, size).
            transfer: (images or 1, size, size // 2 + 1), real: the microscope's; None: 1.
        """
        observed = Observed.of(self.plane, images, transfer, self.noise)
        found = self._over_all(observed.narrowed(self.bands[0]))
        for level in range(1, len(self.bands)):
            found = self._descend(observed.narrowed(self.bands[level]), found, level)
        found = self._modes(found)
        return polish(
            observed,
            self.middle,
            found.rotations,
            found.shifts,
            found.scores,
            self.group,
            reach=math.radians(self.spacing(len(self.bands) - 1)),
        )

    def spacing(self, level: int) -> float:
        """Of a level's grid, in degrees."""
        return self.settings.spacing * math.ldexp(1, -level)

    def _loss(self, level: int) -> float:
        """What the nearest grid point loses of the log-likelihood, in nats: nearly its largest."""
        generator = torch.Generator().manual_seed(level)
        plane = self.plane.narrowed(self.bands[level])
        turns = uniform(PROBES, generator)
        edge = math.radians(self.spacing(level))
        offsets = edge * (torch.rand(PROBES, 3, generator=generator, dtype=torch.float64) - 0.5)
        moves = self.step / 2**level * (torch.rand(PROBES, 2, generator=generator) - 0.5)
        there = plane.read(self.middle, turns)
        here = plane.read(self.middle, from_vectors(offsets) @ turns) * plane.phases(moves)
        lost = ((there - here).abs().square() / plane.over_shells(self.noise)).sum(1)
        largest: Tensor = torch.quantile(lost, 0.95)
        return float(largest)

    def _gap(self, level: int) -> float:
        """By how much a pose may score less than the best and still be kept."""
        return self.losses[level] - math.log(self.settings.doubt)

    def _over_all(self, observed: Observed) -> _Candidates:
        """Score all rotations and shifts of the first grid."""
        waves = self._low.phases(self.shifts)
        count = max(1, CHUNK // (len(self.shifts) * len(self.grid)))
        parts = []
        for data, power in zip(
            torch.split(observed.data, count), self._powers(observed, count), strict=True
        ):
            moved = data[:, None] * waves.conj()
            flat = torch.cat([moved.real, moved.imag], -1).flatten(0, 1)
            scores = (2 * flat @ self._matrix).reshape(len(data), -1, len(self.grid))
            best, shift = scores.max(1)
            best = best - power @ self._squares
            kept, rotation = best.topk(min(self.settings.kept, len(self.grid)))
            shift = shift.gather(1, rotation)
            parts.append(_Candidates(self.grid[rotation], self.shifts[shift], kept))
        return self._bounded(_joined(parts), 0)

    def _powers(self, observed: Observed, count: int) -> list[Tensor]:
        """The images' squared transfer functions in parts."""
        if len(observed.power) > 1:
            return list(torch.split(observed.power, count))
        return [observed.power] * math.ceil(len(observed) / count)

    def _bounded(self, found: _Candidates, level: int) -> _Candidates:
        """Exclude poses that cannot be the true one: their scores become -inf."""
        limit = found.scores.amax(1, keepdim=True) - self._gap(level)
        scores = found.scores.masked_fill(found.scores < limit, -math.inf)
        return _Candidates(found.rotations, found.shifts, scores)

    def _descend(self, observed: Observed, found: _Candidates, level: int) -> _Candidates:
        """Replace each pose by its neighbours at half the spacing, and keep the best."""
        images, places = torch.where(found.scores > -math.inf)
        children = turned(found.rotations[images, places], self.spacing(level - 1))
        number = children.shape[1]
        step = self.step / 2**level
        moves = found.shifts[images, places].repeat_interleave(number, 0)
        scores = torch.empty(len(images) * number, 9)
        y, x, scale, size = observed.plane.places(self.middle)
        kernels.score(
            self.middle.array,
            axes_of(children.flatten(0, 1)),
            images.repeat_interleave(number).numpy(),
            moves.double().numpy(),
            step,
            observed.data.numpy(),
            observed.power.contiguous().numpy(),
            y,
            x,
            scale,
            size,
            scores.numpy(),
        )
        best, shift = scores.max(1)
        offsets = torch.stack([shift % 3 - 1, shift.div(3, rounding_mode="floor") - 1], -1)
        every = found.scores.shape[1] * number
        ranked = torch.full((len(observed), every), -math.inf)
        slots = (places[:, None] * number + torch.arange(number)).flatten()
        owners = images.repeat_interleave(number)
        ranked[owners, slots] = best
        where = torch.zeros(len(observed), every, dtype=torch.int64)
        where[owners, slots] = torch.arange(len(best))
        top, slot = ranked.topk(min(self.settings.kept, every))
        chosen = where.gather(1, slot)
        moved = moves + step * offsets
        return self._bounded(_Candidates(children.flatten(0, 1)[chosen], moved[chosen], top), level)

    def _modes(self, found: _Candidates) -> _Candidates:
        """The best pose, and the best ones that are not its neighbours."""
        near = 2 * self.spacing(len(self.bands) - 1)
        left = found.scores.clone()
        rows = torch.arange(len(left))
        chosen = []
        for _ in range(min(self.settings.modes, left.shape[1])):
            top, place = left.max(1)
            rotation = found.rotations[rows, place]
            chosen.append(
                _Candidates(rotation[:, None], found.shifts[rows, place][:, None], top[:, None])
            )
            angles = distance(
                found.rotations, rotation[:, None].expand_as(found.rotations), self.group
            )
            left = left.masked_fill(angles < near, -math.inf)
        return _joined(chosen, 1)


def _joined(parts: list[_Candidates], dim: int = 0) -> _Candidates:
    """Several sets as one, of more images or of more poses for each."""
    return _Candidates(
        torch.cat([part.rotations for part in parts], dim),
        torch.cat([part.shifts for part in parts], dim),
        torch.cat([part.scores for part in parts], dim),
    )
