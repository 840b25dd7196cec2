"""Volumes and poses together: rounds of expectation-maximisation from a first volume.

A round searches each image's poses in the volume of its own half set, inserts the image at its
modes by their weights, and solves for both volumes. The halves' correlation sets the next round's
band, so that noise of one half is never matched to itself. A symmetric volume receives each image
at all poses that give the same image.

Source: Ullrich 5.5, equation (5.16), with q(p) over modes and q(v) in closed form; half sets 5.6.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging.empirical import Fit, fit, image_power
from laconic.imaging.poses.posterior import Poses
from laconic.imaging.poses.search import Search, SearchSettings
from laconic.imaging.posterior import to_coefficients, to_space
from laconic.imaging.rotations import distance, symmetry, uniform
from laconic.imaging.slices import largest_band, read_slices, to_spectrum
from laconic.imaging.statistics import Statistics, Views
from laconic.metrics.fourier_shells import shell_correlation, shell_numbers, shell_sums

BATCH = 64
"""Images that are searched at once."""
SAMPLE = 512
"""Images of a half set that noise is learned from."""
LEAST_WEIGHT = 0.01
"""Modes of less weight are not inserted."""
THRESHOLD = 0.143
"""Correlation of the halves up to which frequencies are compared."""
SETTLED_DEGREES = 0.5
"""Rounds end when the median pose moves by less, and the band does not grow."""


class Images(Protocol):
    """Images that are read on request."""

    size: int

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, numbers: Tensor) -> tuple[Tensor, Tensor | None]:
        """Some images (images, size, size), and transfer functions as in `statistics.Views`."""
        ...


@dataclass(frozen=True)
class RefineSettings:
    """How to refine.

    Attributes:
        band: of the first round, in frequencies of the image.
        group: the volume's symmetry, by name.
        rounds: at most so many.
        search: how poses are searched.
        last_band: of all rounds; None: all that the box has.
    """

    band: float
    group: str = "C1"
    rounds: int = 10
    search: SearchSettings = field(default_factory=SearchSettings)
    last_band: float | None = None

    def __post_init__(self) -> None:
        symmetry(self.group)
        if self.rounds < 1:
            raise InputError(f"rounds: {self.rounds} is less than 1")
        if not self.band >= 2:
            raise InputError(
                f"the first round would compare {self.band:.1f} frequencies; start from a finer "
                "low-pass filter"
            )


@dataclass(frozen=True)
class State:
    """What a round leaves to the next one.

    Attributes:
        done: rounds.
        band: of the next round.
        volumes: of the two half sets, each (size, size, size).
        noise: (size // 2 + 1,): variances of shells.
        poses: of all images; None before the first round.
        settled: whether another round would change little.
    """

    done: int
    band: float
    volumes: tuple[Tensor, Tensor]
    noise: Tensor
    poses: Poses | None = None
    settled: bool = False


@dataclass(frozen=True)
class Refined:
    """Volumes and poses.

    Attributes:
        whole: the posterior of all images at their poses.
        halves: volumes of the half sets.
        correlation: (size // 2 + 1,): between them.
        poses: of all images.
    """

    whole: Fit
    halves: tuple[Tensor, Tensor]
    correlation: Tensor
    poses: Poses


Tick = Callable[[int, int], None]


def start(images: Images, volume: Tensor, settings: RefineSettings) -> State:
    """The state before the first round: the volume without its fine details, scaled to the images.

    Args:
        images: some of them set the scale and the first noise.
        volume: (size, size, size): where to start; its grey values may have any scale.
        settings: how.

    Raises:
        InputError: the volume has another box, or is constant.
    """
    size = images.size
    if tuple(volume.shape) != (size,) * 3:
        raise InputError(f"the map has {len(volume)} voxels along a side, the images {size} pixels")
    numbers = torch.arange(min(SAMPLE, len(images)))
    shown, transfer = images.batch(numbers)
    statistics = Statistics.empty(size, 1)
    statistics.insert(Views(shown, torch.eye(3, dtype=torch.float64).expand(len(shown), 3, 3)))
    power = image_power(statistics)
    # Fine shells hold little but noise.
    noise = power[size // 4 : size // 2].median().expand(size // 2 + 1)
    low = lowpass(volume.float(), settings.band)
    turns = uniform(64, torch.Generator().manual_seed(0))
    sliced = read_slices(to_spectrum(low), turns, size) / size
    if transfer is not None:
        sliced = sliced * transfer.square().mean(0).sqrt()
    counts = shell_sums(torch.ones(size, size // 2 + 1), size)
    inside = slice(1, int(settings.band) + 1)
    expected = (shell_sums(sliced.abs().square().mean(0), size) / counts)[inside]
    signal = (power - noise).clamp(min=0)[inside]
    if not float(expected.sum()) > 0:
        raise InputError("the map is constant at the frequencies of the first round")
    scale = float(((signal * counts[inside]).sum() / (expected * counts[inside]).sum()).sqrt())
    return State(0, settings.band, (scale * low, scale * low), noise.clone())


def refine(
    images: Images,
    halves: tuple[Tensor, Tensor],
    state: State,
    settings: RefineSettings,
    *,
    tick: Tick = lambda done, total: None,
    save: Callable[[State], None] = lambda state: None,
) -> Refined:
    """Refine volumes and poses from a state.

    Args:
        images: all of them.
        halves: numbers of the images of each half set.
        state: of `start`, or what `save` received.
        settings: how.
        tick: called with the images searched so far and the most there may be.
        save: called with the state after each round.
    """
    while state.poses is None or not (state.settled or state.done >= settings.rounds):
        before, total = state.done * len(images), settings.rounds * len(images)
        state = _round(images, halves, state, settings, partial(_ticked, tick, before, total))
        save(state)
    sums = Statistics.empty(images.size)
    for part in torch.split(torch.arange(len(images)), BATCH):
        insert(sums, *images.batch(part), state.poses.take(part))
    views = _views(images, torch.cat([part[: SAMPLE // 2] for part in halves]), state.poses)
    whole = fit(sums, views=views, definite=True)
    first, second = state.volumes
    return Refined(whole, (first, second), shell_correlation(first, second), state.poses)


def _ticked(tick: Tick, before: int, total: int, done: int) -> None:
    """Report images of one round as part of all rounds."""
    tick(before + done, total)


def _round(
    images: Images,
    halves: tuple[Tensor, Tensor],
    state: State,
    settings: RefineSettings,
    tick: Callable[[int], None],
) -> State:
    """Search all images, solve for both halves."""
    statistics, found, done = [], [], 0
    for numbers, volume in zip(halves, state.volumes, strict=True):
        spectrum = to_spectrum(volume)
        search = Search(
            spectrum, images.size, state.noise, state.band, settings.search, settings.group
        )
        sums, poses = Statistics.empty(images.size), []
        for part in torch.split(numbers, BATCH):
            shown, transfer = images.batch(part)
            poses.append(search(shown, transfer))
            insert(sums, shown, transfer, poses[-1])
            done += len(part)
            tick(done)
        found.append(Poses.joined(poses))
        statistics.append(sums)
    both = Poses.joined(found).take(torch.cat(halves).argsort())
    fits = [
        fit(sums, views=_views(images, numbers[:SAMPLE], both), rounds=2, definite=True)
        for numbers, sums in zip(halves, statistics, strict=True)
    ]
    noise = (fits[0].noise + fits[1].noise) / 2
    return _next(state, settings, [one.posterior.volume() for one in fits], noise, both)


def _next(
    state: State,
    settings: RefineSettings,
    volumes: list[Tensor],
    noise: Tensor,
    poses: Poses,
) -> State:
    """The state after a round; its band is where the halves agree."""
    last = settings.last_band or largest_band(len(volumes[0]))
    curve = shell_correlation(volumes[0], volumes[1])
    below = torch.where(curve[1:] < THRESHOLD)[0]
    agreed = float(below[0]) if len(below) else float(len(curve) - 1)
    band = min(max(agreed, settings.band), last)
    moved = float("inf")
    if state.poses is not None:
        pair = (state.poses.rotations[:, 0], poses.rotations[:, 0])
        moved = float(distance(*pair, poses.group).median())
    settled = moved < SETTLED_DEGREES and band <= state.band + 0.5
    return State(state.done + 1, band, (volumes[0], volumes[1]), noise, poses, settled)


def insert(statistics: Statistics, images: Tensor, transfer: Tensor | None, poses: Poses) -> None:
    """Insert images at the modes of their poses, by weight, and at all symmetric poses.

    A weight w multiplies the image's sum and its weights: the image and its transfer function enter
    as sqrt(w) of theirs.

    Args:
        statistics: to add to.
        images: (images, size, size).
        transfer: (images or 1, size, size // 2 + 1), real; None: 1.
        poses: of the images.
    """
    owners, modes = torch.where(poses.weights >= LEAST_WEIGHT)
    weights = poses.weights[owners, modes]
    weights = weights / weights.new_zeros(len(images)).index_add(0, owners, weights)[owners]
    root = weights.sqrt().float()[:, None, None]
    if transfer is None:
        factor = root
    else:
        factor = root * (transfer if len(transfer) == 1 else transfer[owners])
    number = statistics.number
    for turn in poses.group:
        statistics.insert(
            Views(
                images[owners] * root,
                poses.rotations[owners, modes] @ turn,
                poses.shifts[owners, modes],
                factor.expand(len(owners), images.shape[1], images.shape[1] // 2 + 1),
            )
        )
    statistics.number = number + len(images) * len(poses.group)


def lowpass(volume: Tensor, band: float) -> Tensor:
    """A volume without the frequencies beyond a band: (size, size, size)."""
    size = len(volume)
    kept = to_coefficients(volume) * (shell_numbers(size) <= band)
    return to_space(kept, size)


def _views(images: Images, numbers: Tensor, poses: Poses) -> Views:
    """Some images at their best poses."""
    shown, transfer = images.batch(numbers)
    return Views(shown, poses.rotations[numbers, 0], poses.shifts[numbers, 0], transfer)
