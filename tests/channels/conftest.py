"""What the tests of channels share: how far a statistic may be from its expectation."""

import math

Z = 4.0
"""Standard errors that a correct statistic stays within but for 6 of 100,000 tests."""


def close(values: object, expected: float) -> bool:
    """Whether the mean of independent values is `expected` within `Z` standard errors."""
    import torch

    data = torch.as_tensor(values).double().flatten()
    return abs(float(data.mean()) - expected) <= Z * float(data.std()) / math.sqrt(len(data))
