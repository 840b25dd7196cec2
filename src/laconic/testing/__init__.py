"""Conformance suites that ship with the package: coders from outside can be held to them too.

Subclass `CoderSuite`, say how to make the coder, and pytest finds the laws:

```
class TestMine(CoderSuite):
    def make(self) -> RelativeEntropyCoder:
        return MyCoder()
```

Statistical checks have fixed seeds; each fails a right coder at a rate of at most `FALSE_ALARM`.
"""

from laconic.testing.checks import (
    FALSE_ALARM,
    bias,
    check_damage,
    check_garbage,
    check_refused,
    check_round_trip,
    critical_bias,
    kolmogorov_smirnov,
    ladder_pair,
    residuals,
    standard_pair,
    transmit,
)
from laconic.testing.coders import CoderSuite

__all__ = [
    "FALSE_ALARM",
    "CoderSuite",
    "bias",
    "check_damage",
    "check_garbage",
    "check_refused",
    "check_round_trip",
    "critical_bias",
    "kolmogorov_smirnov",
    "ladder_pair",
    "residuals",
    "standard_pair",
    "transmit",
]
