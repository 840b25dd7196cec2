"""Configurations: what a dataclass does not take is refused by name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from laconic.errors import ConfigError
from laconic.training.config import build


@dataclass(frozen=True)
class Settings:
    """One field of every kind."""

    rate: float = 1e-3
    count: int = 3
    name: str = "some"
    bounds: tuple[float, ...] = (0.0, 1.0)
    threshold: float | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    limit: float = math.inf


def test_what_fits_is_taken_and_made_of_the_right_type() -> None:
    given = {"rate": "1e-4", "bounds": [0.5, 2], "threshold": 2, "scales": {"a": 1.0}, "limit": 5}
    found = build(Settings, given, "some")
    assert found == Settings(1e-4, 3, "some", (0.5, 2), 2.0, {"a": 1.0}, 5.0)
    assert type(found.threshold) is float
    assert build(Settings, {"threshold": None, "limit": math.inf}, "some") == Settings()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rates": 1.0}, "some.rates: unknown key"), ({"rate": "fast"}, "'fast' is not a number"),
        ({"count": 1.5}, "expected int"), ({"count": True}, "expected int"),
        ({"rate": None}, "expected float"), ({"rate": math.nan}, "finite"),
        ({"rate": "inf"}, "finite"), ({"limit": math.nan}, "finite"),
        ({"threshold": "high"}, "not a number"), ({"threshold": math.inf}, "finite"),
        ({"scales": 3.0}, "expected dict"), ({"scales": None}, "expected dict"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Settings, given, "some")
