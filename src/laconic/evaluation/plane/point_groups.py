"""Comparison of groups of points on the rate-distortion plane, with their errors.

A difference counts if it exceeds `TOLERANCE` standard errors. The errors are treated as
independent; for two models that were measured on the same images this is cautious.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import groupby

from laconic.evaluation.plane.points import Measure, PlanePoint
from laconic.metrics.frontier import distortion_at, lower_hull

TOLERANCE = 2.0
"""Standard errors within which two figures are equal."""

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "not measured"

Finding = tuple[str, str]
"""A verdict and the numbers behind it, in words."""


def having(points: Iterable[PlanePoint], **parts: str) -> list[PlanePoint]:
    """The points whose family has these parts."""
    return [p for p in points if all(p.part(part) == sign for part, sign in parts.items())]


def grouped(
    points: Iterable[PlanePoint], key: Callable[[PlanePoint], Hashable]
) -> list[tuple[str, list[PlanePoint]]]:
    """Groups of points with equal keys, by the key's text."""
    ordered = sorted(points, key=lambda point: str(key(point)))
    groups = groupby(ordered, key=lambda point: str(key(point)))
    return [(name, list(group)) for name, group in groups]


def rate_of(point: PlanePoint) -> float:
    """The rate, nats."""
    return point.rate


def best_of(points: Sequence[PlanePoint]) -> PlanePoint:
    """The point of the best ELBO."""
    return min(points, key=lambda point: point.negative_elbo.value)


def duel(
    first: Sequence[PlanePoint], second: Sequence[PlanePoint], rate: float, names: tuple[str, str]
) -> Finding:
    """Whether the first group's hull has less distortion than the second's at a rate."""
    found = [hull_at(group, rate) for group in (first, second)]
    if found[0] is None or found[1] is None:
        return missing(f"both kinds of decoder around {rate:.3g} nats")
    gain = minus(found[1], found[0])
    text = (
        f"at R {short(rate)}: D {say(found[0])} ({names[0]}) against {say(found[1])} "
        f"({names[1]}), difference {say(gain, '+')}"
    )
    if gain.value > 0 and not positive(gain):
        text += f", within {TOLERANCE:g} standard errors"
    return verdict(positive(gain)), text


def campaign(
    first: Sequence[PlanePoint], second: Sequence[PlanePoint], name: str, other: str
) -> Finding:
    """Whether the first group's hull is lower at most measured rates, decoder by decoder."""
    wins = losses = total = 0
    for sign in "+-":
        groups = [having(group, decoder=sign) for group in (first, second)]
        for rate in sorted({point.rate for group in groups for point in group}):
            ours, theirs = (hull_at(group, rate) for group in groups)
            if ours is not None and theirs is not None:
                gain = minus(theirs, ours)
                wins += positive(gain)
                losses += positive(minus(ours, theirs))
                total += 1
    if not total:
        return missing(f"{name} and {other} at common rates and with the same decoder")
    text = (
        f"of {total} measured rates, {name} better at {wins}, {other} better at {losses}, "
        f"equal within {TOLERANCE:g} standard errors at {total - wins - losses}"
    )
    return verdict(2 * wins > total), text


def hull_at(points: Sequence[PlanePoint], rate: float) -> Measure | None:
    """The distortion of a group's hull at a rate; None if the rate is outside its points."""
    if not points or not min(map(rate_of, points)) <= rate <= max(map(rate_of, points)):
        return None
    places = [point.place for point in points]
    value = distortion_at(places, rate)
    corners = [points[index] for index in lower_hull(places)]
    nearest = sorted(corners, key=lambda point: abs(point.rate - rate))[:2]
    return Measure(value, max(p.measures["distortion_nats"].spread for p in nearest))


def near_best(
    points: Sequence[PlanePoint],
    bound: Callable[[PlanePoint], Measure],
    within: float,
    span: float,
    name: str,
) -> Finding:
    """Whether the points whose bound is near the best one have very different rates."""
    best = min((bound(point) for point in points), key=lambda measure: measure.value)
    near = [
        point for point in points if not positive(minus(minus(bound(point), best), Measure(within)))
    ]
    low, high = min(map(rate_of, near)), max(map(rate_of, near))
    text = (
        f"best {name} {say(best)}; {len(near)} models within {within:g} nats of it, "
        f"rates {short(low)} to {short(high)}"
    )
    return verdict(high - low >= span), text


def minus(first: Measure, second: Measure) -> Measure:
    """The difference of two independent means."""
    return Measure(first.value - second.value, math.hypot(first.spread, second.spread))


def positive(difference: Measure) -> bool:
    """Whether a difference is above zero by more than the tolerance."""
    return difference.value > TOLERANCE * difference.spread


def at_most(measure: Measure, limit: float) -> bool:
    """Whether a measure is not above a limit by more than the tolerance."""
    return not positive(minus(measure, Measure(limit)))


def verdict(holds: bool) -> str:
    """The word for a claim that was checked."""
    return HOLDS if holds else FAILS


def missing(what: str) -> Finding:
    """The result of a claim that could not be checked, and what the check needs."""
    return UNKNOWN, f"needs {what}"


def short(rate: float) -> str:
    """Three digits, without trailing zeros; large numbers keep all digits before the point."""
    return format(rate, ".3g" if abs(rate) < 1000 else ".0f").replace("-", "−")


def say(measure: Measure, sign: str = "") -> str:
    """A figure with its error, true minus signs."""
    error = f" ± {measure.error:.2g}" if measure.spread else ""
    return f"{measure.value:{sign}.4g}{error}".replace("-", "−")
