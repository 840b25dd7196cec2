"""Conformance suites that ship with the package, for methods of other authors too.

Subclass `CoderSuite`, say how to make the coder, and pytest finds the laws; likewise `ModelSuite`
for latent-variable models, `WeightSuite` for methods of `laconic.weights`, and `CodecSuite` for
codecs of .lac files:

```
class TestMine(CoderSuite):
    def make(self) -> RelativeEntropyCoder:
        return MyCoder()
```

Statistical checks have fixed seeds; each fails what is right at a rate of at most `FALSE_ALARM`.
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
from laconic.testing.codecs import CodecCase, CodecSuite
from laconic.testing.coders import CoderSuite
from laconic.testing.models import ModelSuite
from laconic.testing.weights import WeightSuite

__all__ = [
    "FALSE_ALARM",
    "CodecCase",
    "CodecSuite",
    "CoderSuite",
    "ModelSuite",
    "WeightSuite",
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
