"""Volumes and poses together: rounds of expectation-maximisation from a first volume.

Images belong to a few parts. A round searches each image's poses in a reference, the volume of all
parts but its own, so that an image is never compared with its own noise; it inserts the image at
its modes by their weights, and solves for the references. These are zero outside of a support that
follows the last round's density, and nowhere negative: the particle fills a small share of the box,
and the noise of the rest would be part of every slice. The half sets' correlation within the
support sets the next round's band. A symmetric volume receives each image at all poses that give
the same image.

The half sets are independent only if references are made within each (`independent`), of half as
many images.

Source: Ullrich 5.5, equation (5.16), with q(p) over modes and q(v) in closed form; half sets 5.6.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Protocol

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.imaging.empirical import Fit, fit, image_power
from laconic.imaging.poses.posterior import Poses
from laconic.imaging.poses.search import Search, SearchSettings
from laconic.imaging.posterior import solve, to_coefficients, to_space
from laconic.imaging.rotations import distance, symmetry, uniform
from laconic.imaging.slices import largest_band, read_slices, to_spectrum
from laconic.imaging.statistics import Statistics, Views
from laconic.metrics.fourier_shells import shell_correlation, shell_numbers, shell_sums
from laconic.metrics.half_maps import masked_correlation, smooth, soft_mask

PARTS = 8
BATCH = 64
"""Images that are searched at once."""
SAMPLE = 512
"""Images of a half set, at most, that noise is learned from."""
LEAST_WEIGHT = 0.01
"""Modes of less weight are not inserted."""
THRESHOLD = 0.143
"""Correlation of the halves up to which frequencies are compared."""
SUPPORT_SMOOTHING, SUPPORT_EDGE = 1 / 40, 1 / 40
"""Widths of Gaussians, relative to the box: of the density's, and of the support's edge."""
SUPPORT_DENSITY = 0.1
"""Of the largest, from which on smoothed density belongs to the support."""
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
        parts: of the images: a reference is made of all but one. Even, half of each half set.
        independent: references are made of parts of the same half set alone.
        supported: references and the last volume are zero outside of the particle, and references
            are not negative within.
    """

    band: float
    group: str = "C1"
    rounds: int = 10
    search: SearchSettings = field(default_factory=SearchSettings)
    last_band: float | None = None
    parts: int = PARTS
    independent: bool = False
    supported: bool = True

    def __post_init__(self) -> None:
        symmetry(self.group)
        least = 4 if self.independent else 2
        if self.parts < least or self.parts % 2:
            raise InputError(f"parts: {self.parts} is not an even number of at least {least}")
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
        references: one for each part of the images, each (size, size, size).
        noise: (size // 2 + 1,): variances of shells.
        poses: of all images; None before the first round.
        settled: whether another round would change little.
    """

    done: int
    band: float
    references: tuple[Tensor, ...]
    noise: Tensor
    poses: Poses | None = None
    settled: bool = False


@dataclass(frozen=True)
class Refined:
    """Volumes and poses.

    Attributes:
        whole: the posterior of all images at their poses, within the support if there is one.
        halves: volumes of the half sets, without a support.
        correlation: (size // 2 + 1,): between them.
        poses: of all images.
        support: (size, size, size); None: the whole box.
    """

    whole: Fit
    halves: tuple[Tensor, Tensor]
    correlation: Tensor
    poses: Poses
    support: Tensor | None = None


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
    return State(0, settings.band, (scale * low,) * settings.parts, noise.clone())


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
    parts = parts_of(halves, settings.parts)
    while state.poses is None or not (state.settled or state.done >= settings.rounds):
        before, total = state.done * len(images), settings.rounds * len(images)
        state = _round(images, parts, state, settings, partial(_ticked, tick, before, total))
        save(state)
    sums = []
    for numbers in parts:
        sums.append(Statistics.empty(images.size))
        for batch in torch.split(numbers, BATCH):
            insert(sums[-1], *images.batch(batch), state.poses.take(batch))
    support = support_of(state.references) if settings.supported else None
    fits = _fitted(images, parts, sums, state.poses)
    return Refined(
        within(sum_of(sums), fits.whole, support),
        fits.halves,
        shell_correlation(*fits.halves),
        state.poses,
        support,
    )


def parts_of(halves: tuple[Tensor, Tensor], count: int) -> list[Tensor]:
    """Numbers of the images of each part; part p belongs to half set p % 2."""
    return [halves[part % 2][part // 2 :: count // 2] for part in range(count)]


def sum_of(statistics: Sequence[Statistics]) -> Statistics:
    """The statistics of several sets of images as those of one."""
    return reduce(operator.add, statistics)


def support_of(references: Sequence[Tensor]) -> Tensor:
    """Where the references' mean has density, with a smooth edge: (size, size, size), in [0, 1]."""
    mean = torch.stack(list(references)).mean(0)
    size = len(mean)
    dense = smooth(mean, SUPPORT_SMOOTHING * size)
    return soft_mask(dense, SUPPORT_DENSITY * float(dense.max()), SUPPORT_EDGE * size)


def within(statistics: Statistics, whole: Fit, support: Tensor | None) -> Fit:
    """The posterior of some of the images within a support.

    Args:
        statistics: of them.
        whole: gives the noise, and the prior of a volume without a support.
        support: (size, size, size); the prior within is larger by 1 / its mean square. None: 1.
    """
    share = 1.0 if support is None else float(support.square().mean())
    found = solve(
        statistics,
        whole.noise,
        whole.prior / share,
        definite=support is None,
        support=support,
    )
    return Fit(found, whole.noise, whole.prior)


def _ticked(tick: Tick, before: int, total: int, done: int) -> None:
    """Report images of one round as part of all rounds."""
    tick(before + done, total)


@dataclass(frozen=True)
class _Fitted:
    """The posterior of all images, and volumes of the half sets with its noise and prior."""

    whole: Fit
    halves: tuple[Tensor, Tensor]


def _fitted(images: Images, parts: list[Tensor], sums: list[Statistics], poses: Poses) -> _Fitted:
    """Learn noise and prior from all images, solve for the half sets."""
    sample = torch.cat([numbers[: 2 * SAMPLE // len(parts)] for numbers in parts])
    halves = [sum_of(sums[half::2]) for half in range(2)]
    views = _views(images, sample, poses)
    whole = fit(halves[0] + halves[1], views=views, rounds=2, definite=True)
    first, second = (within(half, whole, None).posterior.volume() for half in halves)
    return _Fitted(whole, (first, second))


def _round(
    images: Images,
    parts: list[Tensor],
    state: State,
    settings: RefineSettings,
    tick: Callable[[int], None],
) -> State:
    """Search all images, solve for all references."""
    sums, found, done = [], [], 0
    for numbers, reference in zip(parts, state.references, strict=True):
        search = Search(
            to_spectrum(reference),
            images.size,
            state.noise,
            state.band,
            settings.search,
            settings.group,
        )
        sums.append(Statistics.empty(images.size))
        for batch in torch.split(numbers, BATCH):
            shown, transfer = images.batch(batch)
            found.append(search(shown, transfer))
            insert(sums[-1], shown, transfer, found[-1])
            done += len(batch)
            tick(done)
    poses = Poses.joined(found).take(torch.cat(parts).argsort())
    fits = _fitted(images, parts, sums, poses)
    support = support_of(state.references) if settings.supported else None
    references = []
    for part in range(len(parts)):
        others = _others(part, settings)
        fitted = within(sum_of([sums[other] for other in others]), fits.whole, support)
        volume = fitted.posterior.volume()
        references.append(volume if support is None else volume.clamp(min=0))
    return _next(state, settings, fits, support, tuple(references), poses)


def _others(part: int, settings: RefineSettings) -> list[int]:
    """The parts whose images a part's reference is made of."""
    step = 2 if settings.independent else 1
    return [other for other in range(part % step, settings.parts, step) if other != part]


def _next(
    state: State,
    settings: RefineSettings,
    fits: _Fitted,
    support: Tensor | None,
    references: tuple[Tensor, ...],
    poses: Poses,
) -> State:
    """The state after a round; its band is where the halves agree."""
    last = settings.last_band or largest_band(len(references[0]))
    if support is None:
        curve = shell_correlation(*fits.halves)
    else:
        generator = torch.Generator().manual_seed(state.done)
        curve = masked_correlation(*fits.halves, support, generator).corrected
    below = torch.where(curve[1:] < THRESHOLD)[0]
    agreed = float(below[0]) if len(below) else float(len(curve) - 1)
    band = min(max(agreed, settings.band), last)
    moved = float("inf")
    if state.poses is not None:
        pair = (state.poses.rotations[:, 0], poses.rotations[:, 0])
        moved = float(distance(*pair, poses.group).median())
    settled = moved < SETTLED_DEGREES and band <= state.band + 0.5
    return State(state.done + 1, band, references, fits.whole.noise, poses, settled)


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
