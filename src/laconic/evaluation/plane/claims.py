"""The source's qualitative claims about the rate-distortion plane, checked on measured points.

Only differences beyond two standard errors count (`plane.point_groups`).

Source: Alemi, section 4 (MNIST), appendices A (Omniglot), C and D.1.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from laconic.evaluation.plane.point_groups import (
    TOLERANCE,
    Finding,
    at_most,
    best_of,
    campaign,
    duel,
    grouped,
    having,
    minus,
    missing,
    near_best,
    positive,
    rate_of,
    say,
    short,
    verdict,
)
from laconic.evaluation.plane.points import Measure, PlanePoint
from laconic.metrics.frontier import distortion_at, pareto_frontier

COLLAPSED = 0.1
"""Nats; with a smaller rate, the latent counts as unused."""

FINITE = 1.0
"""Nats; with a larger rate, the latent counts as used."""

MIDDLE = 22.0
"""Nats of a rate that the source calls intermediate: the entropy of binary MNIST's sampling."""

AUTO_ENCODING = 60.0
"""Nats above which a rate is high, far above the intermediate ones."""


@dataclass(frozen=True)
class Claim:
    """One claim and the result of its check.

    Attributes:
        words: the claim.
        source: the place in the source.
        verdict: "holds", "does not hold" or "not measured".
        numbers: the numbers behind the verdict, in words.
    """

    words: str
    source: str
    verdict: str
    numbers: str


def check_claims(points: Sequence[PlanePoint]) -> list[Claim]:
    """Check every claim of the source on such data, in the source's order.

    Args:
        points: points of one data set. Claims on Omniglot alone are checked on Omniglot only;
            claims on MNIST alone are checked on all data but Omniglot.
    """
    data = points[0].data if points else ""
    subject = "Omniglot" if "omniglot" in data.lower() else "MNIST"
    measured = [point for point in points if point.on_plane]
    return [
        Claim(words, source, *check(measured))
        for words, source, said_of, check in CLAIMS
        if said_of in ("", subject)
    ]


def low_rates(points: Sequence[PlanePoint]) -> Finding:
    """Compare strong decoders with weak ones at the lowest rate that both reach."""
    strong, weak = having(points, decoder="+"), having(points, decoder="-")
    if not (strong and weak):
        return missing("both kinds of decoder")
    rate = max(min(point.rate for point in group) for group in (strong, weak))
    if rate >= MIDDLE / 2:
        return missing(f"both kinds of decoder below {MIDDLE / 2:g} nats")
    return duel(strong, weak, rate, ("strong", "weak"))


def middle_rates(points: Sequence[PlanePoint]) -> Finding:
    """Compare weak decoders with strong ones at the source's intermediate rate."""
    weak, strong = having(points, decoder="-"), having(points, decoder="+")
    return duel(weak, strong, MIDDLE, ("weak", "strong"))


def high_rates(points: Sequence[PlanePoint]) -> Finding:
    """Compare strong decoders with weak ones at the highest rate that both reach."""
    strong, weak = having(points, decoder="+"), having(points, decoder="-")
    if not (strong and weak):
        return missing("both kinds of decoder")
    rate = min(max(point.rate for point in group) for group in (strong, weak))
    if rate < AUTO_ENCODING:
        return missing(f"both kinds of decoder above {AUTO_ENCODING:g} nats")
    return duel(strong, weak, rate, ("strong", "weak"))


def weak_decoders_rate(points: Sequence[PlanePoint]) -> Finding:
    """Whether deconvolutional families are best in the middle and worse on both sides."""
    verdicts, words = [], []
    for family, group in grouped(having(points, decoder="-"), lambda point: point.family):
        best = best_of(group)
        sides = [min(group, key=rate_of), max(group, key=rate_of)]
        if not (sides[0].rate < MIDDLE / 2 and sides[1].rate > 2 * MIDDLE):
            continue
        losses = [minus(side.negative_elbo, best.negative_elbo) for side in sides]
        inside = MIDDLE / 2 <= best.rate <= 2 * MIDDLE
        verdicts.append(inside and all(map(positive, losses)))
        words.append(
            f"{family}: best {say(best.negative_elbo)} at R {best.rate:.1f}, "
            + ", ".join(f"{say(loss, '+')} at R {short(side.rate)}"
                        for side, loss in zip(sides, losses, strict=True))
        )  # fmt: skip
    if not verdicts:
        return missing(
            f"a deconvolutional family from below {MIDDLE / 2:g} to above {2 * MIDDLE:g} nats"
        )
    return verdict(all(verdicts)), "; ".join(words)


def collapse(points: Sequence[PlanePoint]) -> Finding:
    """Rates of autoregressive families at beta of one and more, without annealing or VampPrior."""
    asked = [
        point
        for point in having(points, decoder="+")
        if point.part("marginal") != "v" and not point.annealed and point.beta >= 1
    ]
    if not asked:
        return missing("an autoregressive family without annealing at beta of 1 or more")
    top = max(asked, key=rate_of)
    low = sum(point.rate < COLLAPSED for point in asked)
    text = (
        f"highest rate {say(top.measures['rate_nats'])} ({top.name}); {low} of {len(asked)} "
        f"below {COLLAPSED:g} nats"
    )
    return verdict(at_most(top.measures["rate_nats"], FINITE)), text


def vampprior_survives(points: Sequence[PlanePoint]) -> Finding:
    """Rates of autoregressive families with VampPrior and annealing at beta of one."""
    asked = [
        point
        for point in having(points, decoder="+", marginal="v")
        if point.annealed and math.isclose(point.beta, 1)
    ]
    if not asked:
        return missing("an annealed autoregressive family with VampPrior at beta 1")
    rates = [point.measures["rate_nats"] for point in asked]
    alive = any(positive(minus(rate, Measure(FINITE))) for rate in rates)
    return verdict(alive), "; ".join(f"{p.family}: R {say(p.measures['rate_nats'])}"
                                      for p in asked)  # fmt: skip


def reduced_beta(points: Sequence[PlanePoint]) -> Finding:
    """Rates of autoregressive families with a beta below one and nothing else against collapse."""
    asked = [p for p in having(points, decoder="+") if not p.annealed and p.beta < 1]
    if not asked:
        return missing("an autoregressive family without annealing at beta below 1")
    best = {
        family: max(group, key=rate_of)
        for family, group in grouped(asked, lambda point: point.family)
    }
    alive = all(positive(minus(p.measures["rate_nats"], Measure(FINITE))) for p in best.values())
    words = (f"{f}: R {short(p.rate)} at beta {p.beta:g}" for f, p in best.items())
    return verdict(alive), "; ".join(words)


def marginals_before_encoders(points: Sequence[PlanePoint]) -> Finding:
    """Compare simple encoder and strong marginal with strong encoder and simple marginal."""
    simple = having(points, encoder="-")
    marginal = [point for point in simple if point.part("marginal") in ("+", "v")]
    encoder = having(points, encoder="+", marginal="-")
    return campaign(marginal, encoder, "strong marginal", "strong encoder")


def fixed_beta_before_annealing(points: Sequence[PlanePoint]) -> Finding:
    """Compare fixed beta and target rates with annealing, over all families that have both."""
    fixed, annealed = [], []
    for _, group in grouped(points, lambda point: point.family):
        parts = [[p for p in group if p.annealed is flag] for flag in (False, True)]
        if all(parts):
            fixed += parts[0]
            annealed += parts[1]
    return campaign(fixed, annealed, "fixed", "annealed")


def by_beta_alone(points: Sequence[PlanePoint]) -> Finding:
    """Whether one family's rate falls with beta from over 100 to under 0.1 nats."""
    sweeps = [
        sorted(group, key=lambda point: point.beta)
        for _, group in grouped([p for p in points if not math.isnan(p.beta)], _all_but_beta)
        if len({point.beta for point in group}) > 1
    ]
    if not sweeps:
        return missing("one family at two or more values of beta")
    full = [s for s in sweeps if min(map(rate_of, s)) < COLLAPSED and max(map(rate_of, s)) > 100]
    smooth = [sweep for sweep in full if not _rises(sweep)]
    best = max(smooth or full or sweeps, key=lambda s: max(map(rate_of, s)) - min(map(rate_of, s)))
    rates = ", ".join(f"{short(point.rate)} at {point.beta:g}" for point in best)
    breaks = [f"{a.beta:g} to {b.beta:g}" for a, b in _rises(best)]
    tail = f"; rises from beta {', '.join(breaks)}" if breaks else ""
    found = f"{len(smooth)} of {len(sweeps)} sweeps do"
    return verdict(bool(smooth)), f"{best[0].family}: R {rates}{tail}. {found}"


def auto_encoding_limit(points: Sequence[PlanePoint]) -> Finding:
    """The increase of the negative ELBO at every family's highest rate."""
    verdicts, words = [], []
    for family, group in grouped([p for p in points if p.part("decoder")], lambda p: p.family):
        best, last = best_of(group), max(group, key=rate_of)
        if last.rate < AUTO_ENCODING:
            continue
        loss = minus(last.negative_elbo, best.negative_elbo)
        verdicts.append(positive(minus(loss, Measure(MUCH))))
        words.append(f"{family}: {say(loss, '+')} at R {last.rate:.0f}")
    if not verdicts:
        return missing(f"a family above {AUTO_ENCODING:g} nats")
    return verdict(all(verdicts)), "; ".join(words)


MUCH = 10.0
"""Nats of negative ELBO; the source's own example is 128 against 81."""


def equal_likelihoods(points: Sequence[PlanePoint]) -> Finding:
    """The range of rates over which IWAE estimates stay near the best one."""
    asked = [point for point in points if "iwae_nats" in point.measures]
    if not asked or max(map(rate_of, asked)) - min(map(rate_of, asked)) < SPAN:
        return missing(f"IWAE estimates over {SPAN:g} nats of rate")
    return near_best(asked, lambda point: point.measures["iwae_nats"], 2.0, SPAN, "IWAE")


SPAN = 10.0
"""Nats between two rates that are very different; the source has 30 on MNIST, 11 on Omniglot."""


def equal_elbos(points: Sequence[PlanePoint]) -> Finding:
    """The range of rates over which ELBOs stay near the best one."""
    if not points or max(map(rate_of, points)) - min(map(rate_of, points)) < SPAN:
        return missing(f"models over {SPAN:g} nats of rate")
    return near_best(points, lambda point: point.negative_elbo, 1.0, SPAN, "negative ELBO")


def close_to_the_hull(points: Sequence[PlanePoint]) -> Finding:
    """How far the Pareto frontier's points lie above the convex hull."""
    places = [point.place for point in points]
    frontier = [points[index] for index in pareto_frontier(places)]
    if len(frontier) < 3:
        return missing("a frontier of three points")
    gaps = [p.distortion - distortion_at(places, p.rate) for p in frontier]
    widest = frontier[gaps.index(max(gaps))]
    allowed = CLOSE + TOLERANCE * widest.negative_elbo.spread
    text = f"at most {max(gaps):.2f} nats above it, at R {widest.rate:.1f}; {len(frontier)} points"
    return verdict(max(gaps) <= allowed), text


CLOSE = 2.0
"""Nats that count as close to the hull."""


def strong_decoders_best(points: Sequence[PlanePoint]) -> Finding:
    """Compare the best ELBO of strong decoders with that of weak ones."""
    groups = [having(points, decoder=sign) for sign in "+-"]
    if not all(groups):
        return missing("both kinds of decoder")
    strong, weak = map(best_of, groups)
    gain = minus(weak.negative_elbo, strong.negative_elbo)
    text = (
        f"negative ELBO {say(strong.negative_elbo)} ({strong.name}) against "
        f"{say(weak.negative_elbo)} ({weak.name})"
    )
    return verdict(positive(gain)), text


def best_decodes_alone(points: Sequence[PlanePoint]) -> Finding:
    """The rate at the best ELBO of all."""
    if not points:
        return missing("a model")
    best = best_of(points)
    text = f"negative ELBO {say(best.negative_elbo)} at R {short(best.rate)} ({best.name})"
    return verdict(at_most(best.measures["rate_nats"], FINITE)), text


def generative_bounds(points: Sequence[PlanePoint]) -> Finding:
    """The gap between the generative bounds near beta = 1 and at the ends of every sweep."""
    verdicts, words = [], []
    asked = [p for p in points if {LOWER, UPPER} <= set(p.measures) and p.beta > 0]
    for family, group in grouped(asked, lambda point: point.family):
        near = min(group, key=lambda point: abs(math.log(point.beta)))
        ends = [f(group, key=lambda point: point.beta) for f in (min, max)]
        ends = [end for end in ends if not 0.5 < end.beta < 2]
        if ends and 0.5 < near.beta < 2:
            wider = [positive(minus(_generative_gap(end), _generative_gap(near))) for end in ends]
            verdicts.append(all(wider))
            gaps = (f"{say(_generative_gap(p))} at beta {p.beta:g}" for p in (near, *ends))
            words.append(f"{family}: {', '.join(gaps)}")
    if not verdicts:
        return missing("generative bounds at beta near 1 and away from it")
    return verdict(2 * sum(verdicts) > len(verdicts)), "; ".join(words)


LOWER, UPPER = "generative_lower_nats", "generative_upper_nats"

CLAIMS: tuple[tuple[str, str, str, Callable[[Sequence[PlanePoint]], Finding]], ...] = (
    ("Families with a powerful (autoregressive) decoder dominate at the lowest rates.",
     "section 4", "MNIST", low_rates),
    (f"Weak decoders dominate at intermediate rates (about {MIDDLE:g} nats).",
     "section 4", "MNIST", middle_rates),
    ("Powerful decoders dominate again at the highest rates.",
     "section 4", "MNIST", high_rates),
    ("Deconvolutional families are best at intermediate rates and suffer away from them.",
     "section 4", "MNIST", weak_decoders_rate),
    ("Powerful marginals dominate powerful encoders at most rates.",
     "section 4", "MNIST", marginals_before_encoders),
    ("The frontier of all families approaches its convex hull closely at all rates.",
     "section 4", "MNIST", close_to_the_hull),
    ("At beta of 1 and more autoregressive families collapse to pure auto-decoding "
     "(without annealing, without VampPrior).",
     "section 4", "", collapse),
    ("With VampPrior and KL annealing an autoregressive family keeps a finite rate at beta = 1.",
     "section 4", "", vampprior_survives),
    ("A smaller beta alone gives a powerful decoder a rate that does not vanish.",
     "section 4", "", reduced_beta),
    ("One family moves smoothly from under 0.1 to over 100 nats by beta alone.",
     "section 4, figure 4; appendix A", "", by_beta_alone),
    ("All families do much worse towards the auto-encoding limit: the negative ELBO grows there.",
     "section 4", "", auto_encoding_limit),
    (f"IWAE estimates stay within 2 nats of the best over rates {SPAN:g} nats and more apart.",
     "section 4", "MNIST", equal_likelihoods),
    ("Powerful decoders dominate the weak ones.",
     "appendix A", "Omniglot", strong_decoders_best),
    ("The best ELBO is nearly auto-decoding (rate under 1 nat).",
     "appendix A", "Omniglot", best_decodes_alone),
    (f"ELBOs stay within 1 nat of the best over rates {SPAN:g} nats and more apart.",
     "appendix A", "Omniglot", equal_elbos),
    ("KL annealing does not in general reach what a fixed beta or target rate reaches.",
     "appendix D.1", "", fixed_beta_before_annealing),
    ("The bounds on the generative information are loose where beta is far from 1.",
     "appendix C", "", generative_bounds),
)  # fmt: skip
"""Claim, place in the source, data set of the claim (empty: any), and its check."""


def _all_but_beta(point: PlanePoint) -> Hashable:
    settings = point.settings
    return point.family, settings.get("preset"), point.annealed, settings.get("seed")


def _rises(sweep: Sequence[PlanePoint]) -> list[tuple[PlanePoint, PlanePoint]]:
    """Neighbours in beta whose rate rises; collapsed rates count as equal."""
    found = []
    for before, after in itertools.pairwise(sweep):
        a, b = (point.measures["rate_nats"] for point in (before, after))
        rise = max(b.value, COLLAPSED) - max(a.value, COLLAPSED)
        if before.beta < after.beta and positive(Measure(rise, math.hypot(a.spread, b.spread))):
            found.append((before, after))
    return found


def _generative_gap(point: PlanePoint) -> Measure:
    return minus(point.measures[UPPER], point.measures[LOWER])
