"""Distributions over functions: the functional neural process (FNP, FNP+), the neural process (NP).

```python
references, others = laconic.functions.choose_references(x, y, 300)
process = laconic.functions.FNP(torso, references, plus=True)
loss = process.bound(x_batch, y_batch, len(others[0])).loss   # nats per example
...                                                           # process.constrain() after every step
process.predictive(x_new, samples=100)                        # a torch distribution
```
"""

from laconic.functions.base import Bound, FunctionPosterior
from laconic.functions.fnp import FNP, FNPSettings
from laconic.functions.neural_process import NP, NPSettings
from laconic.functions.references import choose_references

PROCESSES: dict[str, type[FNP] | type[NP]] = {"fnp": FNP, "np": NP}
"""Processes by name."""

__all__ = [
    "FNP",
    "NP",
    "PROCESSES",
    "Bound",
    "FNPSettings",
    "FunctionPosterior",
    "NPSettings",
    "choose_references",
]
