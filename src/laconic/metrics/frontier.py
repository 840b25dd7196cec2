"""The geometry of the rate-distortion plane: Pareto frontier, convex hull, best ELBO.

A model is a point (rate, distortion) in nats. It can always be made worse: a poorer marginal raises
only the rate, a poorer decoder only the distortion. So every point above or to the right of a model
can be reached, too (Alemi, section 2).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from laconic.errors import InputError

RatePoint = tuple[float, float]
"""Rate and distortion, nats."""


def pareto_frontier(points: Sequence[RatePoint]) -> list[int]:
    """The points that no other point beats or equals in both rate and distortion.

    Args:
        points: rate and distortion of every model, nats; finite.

    Returns:
        Indices into `points`, by rising rate and falling distortion; of equal points the first.

    Raises:
        InputError: a coordinate is not finite.

    Source: Alemi, figure 3 (the stepwise black curve).

    >>> pareto_frontier([(2.0, 5.0), (1.0, 9.0), (3.0, 5.0)])
    [1, 0]
    """
    _check(points)
    frontier: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (*points[i], i)):
        if not frontier or points[index][1] < points[frontier[-1]][1]:
            frontier.append(index)
    return frontier


def lower_hull(points: Sequence[RatePoint]) -> list[int]:
    """The corners of the convex hull that face the origin: part of the Pareto frontier.

    With a vertical line up from its first corner and a horizontal one from its last, no point lies
    below the hull.

    Args:
        points: rate and distortion of every model, nats; finite.

    Returns:
        Indices into `points`, by rising rate, falling distortion and flattening slope.

    Raises:
        InputError: a coordinate is not finite.

    Source: Alemi, figure 3 (the grey curve); Andrew's monotone chain.

    >>> lower_hull([(0.0, 4.0), (1.0, 3.5), (2.0, 0.0)])
    [0, 2]
    """
    hull: list[int] = []
    for index in pareto_frontier(points):
        while len(hull) > 1 and not _turns_left(*(points[i] for i in (*hull[-2:], index))):
            hull.pop()
        hull.append(index)
    return hull


def distortion_at(points: Sequence[RatePoint], rate: float) -> float:
    """The distortion on the points' lower hull at a rate.

    Args:
        points: rate and distortion of every model, nats; finite.
        rate: nats.

    Returns:
        Nats; infinite left of the first corner, constant right of the last one.

    >>> distortion_at([(0.0, 4.0), (1.0, 3.5), (2.0, 0.0)], 1.0)
    2.0
    """
    corners = [points[index] for index in lower_hull(points)]
    if not corners or rate < corners[0][0]:
        return math.inf
    for (left, high), (right, low) in pairwise(corners):
        if rate <= right:
            return low + (high - low) * ((right - rate) / (right - left))
    return corners[-1][1]


def best_negative_elbo(points: Sequence[RatePoint]) -> float:
    """The lowest rate + distortion: an upper bound on the entropy of the data, in nats.

    Args:
        points: rate and distortion of every model, nats; finite, at least one.

    Raises:
        InputError: no point, or a coordinate is not finite.

    Source: Alemi, section 4 (the dashed line of figure 3).

    >>> best_negative_elbo([(0.0, 4.0), (1.0, 2.5)])
    3.5
    """
    _check(points)
    if not points:
        raise InputError("no points on the plane, so no best ELBO; measure a run first")
    return min(rate + distortion for rate, distortion in points)


def _turns_left(first: RatePoint, second: RatePoint, third: RatePoint) -> bool:
    """Whether the path bends towards larger distortions, as the lower hull does everywhere."""
    step, next_step = (
        (end[0] - start[0], end[1] - start[1]) for start, end in ((first, second), (second, third))
    )
    return step[0] * next_step[1] > step[1] * next_step[0]


def _check(points: Sequence[RatePoint]) -> None:
    for point in points:
        if not all(map(math.isfinite, point)):
            raise InputError(f"the point {point} of the plane is not finite; leave it out")
