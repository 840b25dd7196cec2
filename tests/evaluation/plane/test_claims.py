"""Each claim on points that bear it out, that contradict it, and that do not measure it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from laconic.evaluation.plane import claims
from laconic.evaluation.plane.point_groups import FAILS, HOLDS, UNKNOWN, Finding
from laconic.evaluation.plane.points import Measure, PlanePoint


def at(family: str, beta: float, rate: float, elbo: float, **more: object) -> PlanePoint:
    """A model with an error of 0.1 nats."""
    measures = {"rate_nats": rate, "distortion_nats": elbo - rate, "negative_elbo_nats": elbo}
    measures |= {name: value for name, value in more.items() if name.endswith("_nats")}  # type: ignore[misc]
    return PlanePoint(
        run=f"{family}/{beta}/{rate}",
        name=f"{family} beta {beta:g}",
        family=family,
        data=str(more.get("data", "binary-mnist")),
        settings={
            "objective": {"name": "beta", "beta": beta},
            "annealed": more.get("annealed", False),
        },
        measures={name: Measure(float(value), 0.1) for name, value in measures.items()},
    )


def sweep(family: str, *rates_and_elbos: tuple[float, float]) -> list[PlanePoint]:
    """Models at falling beta."""
    betas = (10 / 2**index for index in range(len(rates_and_elbos)))
    return [at(family, b, *pair) for b, pair in zip(betas, rates_and_elbos, strict=False)]


WEAK = sweep("---", (2, 150), (12, 90), (22, 84), (50, 92), (110, 120))
STRONG = sweep("-+v", (0.001, 80.5), (9, 80.4), (22, 86), (50, 96), (130, 123))
BEST_STRONG = sweep("-+v", (0.001, 70), (22, 70), (120, 122))
SLOW = sweep("--v", (2, 150), (12, 90), (22, 82), (50, 83), (110, 112))
ENCODER = sweep("+--", (2, 150), (12, 90), (22, 83.5), (50, 91), (110, 119))

Check = Callable[[Sequence[PlanePoint]], Finding]

CASES: list[tuple[Check, list[PlanePoint], str]] = [
    (claims.low_rates, WEAK + STRONG, HOLDS),
    (claims.low_rates, WEAK + sweep("-+v", (1, 190), (200, 300)), FAILS),
    (claims.low_rates, WEAK[2:] + STRONG, UNKNOWN),
    (claims.low_rates, WEAK, UNKNOWN),
    (claims.middle_rates, WEAK + STRONG, HOLDS),
    (claims.middle_rates, WEAK + BEST_STRONG, FAILS),
    (claims.middle_rates, STRONG + sweep("---", (50, 92), (110, 120)), UNKNOWN),
    (claims.high_rates, WEAK + sweep("-+-", (60, 85), (120, 90)), HOLDS),
    (claims.high_rates, WEAK + sweep("-+-", (60, 185), (120, 190)), FAILS),
    (claims.high_rates, WEAK[:3] + STRONG, UNKNOWN),
    (claims.weak_decoders_rate, WEAK, HOLDS),
    (claims.weak_decoders_rate, sweep("---", (2, 80), (22, 84), (60, 90)), FAILS),
    (claims.weak_decoders_rate, sweep("---", (2, 84.1), (22, 84), (60, 90)), FAILS),
    (claims.weak_decoders_rate, WEAK[1:], UNKNOWN),
    (claims.weak_decoders_rate, STRONG, UNKNOWN),
    (claims.collapse, [at("-+-", 1, 0.01, 81), at("-++", 2, 0.001, 81)], HOLDS),
    (claims.collapse, [at("-+-", 1, 0.01, 81), at("-++", 1.1, 3.0, 81)], FAILS),
    (claims.collapse, [at("-+v", 1, 8, 81), at("---", 1, 8, 81)], UNKNOWN),
    (claims.collapse, [at("-+-", 1, 8, 81, annealed=True), at("-+-", 0.9, 8, 81)], UNKNOWN),
    (claims.vampprior_survives, [at("-+v", 1, 8, 81, annealed=True)], HOLDS),
    (claims.vampprior_survives, [at("-+v", 1, 1.1, 81, annealed=True)], FAILS),
    (claims.vampprior_survives, [at("-+v", 1, 8, 81), at("-+-", 1, 8, 81)], UNKNOWN),
    (claims.reduced_beta, [at("-+-", 0.5, 8, 81), at("-+-", 0.9, 0, 81)], HOLDS),
    (claims.reduced_beta, [at("-+-", 0.5, 0.2, 81), at("-++", 0.5, 9, 81)], FAILS),
    (claims.reduced_beta, [at("-+-", 1, 8, 81)], UNKNOWN),
    (claims.marginals_before_encoders, SLOW + ENCODER, HOLDS),
    (claims.marginals_before_encoders, SLOW + sweep("+--", (2, 99), (22, 64), (110, 112)), FAILS),
    (claims.marginals_before_encoders, SLOW + sweep("++-", (2, 150), (110, 119)), UNKNOWN),
    (claims.by_beta_alone, sweep("-+v", (0.001, 81), (0.05, 81), (20, 85), (120, 130)), HOLDS),
    (claims.by_beta_alone, sweep("-+v", (0.05, 81), (0.001, 81), (20, 85), (120, 130)), HOLDS),
    (claims.by_beta_alone, sweep("-+v", (0.01, 81), (20, 85), (18, 85), (120, 130)), FAILS),
    (claims.by_beta_alone, sweep("-+v", (2, 81), (20, 85), (120, 130)), FAILS),
    (claims.by_beta_alone, [at("-+v", 1, 8, 81), at("---", 2, 8, 81)], UNKNOWN),
    (claims.auto_encoding_limit, WEAK + STRONG, HOLDS),
    (claims.auto_encoding_limit, WEAK + sweep("-+-", (1, 80), (120, 81)), FAILS),
    (claims.auto_encoding_limit, WEAK[:3], UNKNOWN),
    (claims.equal_likelihoods, [at("---", 1, r, 90, iwae_nats=80 + r / 20) for r in (1, 30)],
     HOLDS),
    (claims.equal_likelihoods, [at("---", 1, r, 90, iwae_nats=80 + r / 3) for r in (1, 4, 30)],
     FAILS),
    (claims.equal_likelihoods, WEAK, UNKNOWN),
    (claims.equal_elbos, sweep("-+-", (0.01, 90.5), (11, 91.2)), HOLDS),
    (claims.equal_elbos, sweep("-+-", (0.01, 90.5), (11, 99)), FAILS),
    (claims.equal_elbos, sweep("-+-", (0.01, 90.5)), UNKNOWN),
    (claims.close_to_the_hull, sweep("---", (1, 81), (10, 81), (20, 81)), HOLDS),
    (claims.close_to_the_hull, sweep("---", (1, 81), (10, 86), (20, 81)), FAILS),
    (claims.close_to_the_hull, sweep("---", (1, 81), (10, 81)), UNKNOWN),
    (claims.strong_decoders_best, WEAK + STRONG, HOLDS),
    (claims.strong_decoders_best, sweep("---", (20, 80.4)) + STRONG, FAILS),
    (claims.strong_decoders_best, STRONG, UNKNOWN),
    (claims.best_decodes_alone, sweep("-+v", (0.7, 90), (8, 91)), HOLDS),
    (claims.best_decodes_alone, sweep("-+v", (0.7, 91), (8, 90)), FAILS),
    (claims.best_decodes_alone, [], UNKNOWN),
]  # fmt: skip


@pytest.mark.parametrize(("check", "points", "verdict"), CASES)
def test_a_claim(check: Check, points: list[PlanePoint], verdict: str) -> None:
    found, numbers = check(points)
    assert found == verdict, numbers
    assert numbers
    assert numbers.startswith("needs ") == (verdict == UNKNOWN)


def test_a_difference_within_the_errors_does_not_count() -> None:
    """0.2 nats at errors of 0.1 each: two standard errors of the difference are 0.28."""
    strong = [at("-+-", 1, rate, 80.0) for rate in (1, 40)]
    for gap, verdict in ((0.2, FAILS), (0.4, HOLDS)):
        weak = [at("---", 1, rate, 80.0 - gap) for rate in (1, 40)]
        assert claims.middle_rates(weak + strong)[0] == verdict


def annealed_or_not(gain: float) -> Iterator[PlanePoint]:
    for rate in (1, 10, 30):
        yield at("-+-", 1, rate, 85)
        yield at("-+-", 1, rate, 85 - gain, annealed=True)


@pytest.mark.parametrize(("gain", "verdict"), [(-2, HOLDS), (2, FAILS)])
def test_annealing(gain: float, verdict: str) -> None:
    assert claims.fixed_beta_before_annealing(list(annealed_or_not(gain)))[0] == verdict
    assert claims.fixed_beta_before_annealing(STRONG)[0] == UNKNOWN


@pytest.mark.parametrize(("gaps", "verdict"), [((9, 1, 5), HOLDS), ((9, 6, 5), FAILS)])
def test_generative_bounds(gaps: tuple[float, ...], verdict: str) -> None:
    points = [
        at("---", beta, 10, 90, generative_lower_nats=5.0, generative_upper_nats=5 + gap)
        for beta, gap in zip((0.1, 1, 10), gaps, strict=True)
    ]
    assert claims.generative_bounds(points)[0] == verdict
    assert claims.generative_bounds(points[1:2])[0] == UNKNOWN
    assert claims.generative_bounds(WEAK)[0] == UNKNOWN


def test_what_is_said_of_each_data_set() -> None:
    digits = claims.check_claims(WEAK + STRONG)
    assert len(digits) > 10
    assert {claim.verdict for claim in digits} == {HOLDS, FAILS, UNKNOWN}
    letters = claims.check_claims([at("-+-", 1, 0.7, 90, data="omniglot")])
    assert not {c.source for c in digits} & {"appendix A"}
    assert {c.words for c in letters} - {c.words for c in digits}
    assert all(claim.verdict == UNKNOWN for claim in claims.check_claims([]))


def test_points_off_the_plane_are_left_out(tmp_path: Path) -> None:
    off = PlanePoint("run", "name", "-+-", "binary-mnist")
    assert claims.check_claims([*WEAK, off]) == claims.check_claims(WEAK)
