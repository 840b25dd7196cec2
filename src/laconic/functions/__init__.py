"""Distributions over functions: the functional neural process (FNP, FNP+), the neural process (NP).

```python
references, others = laconic.functions.choose_references(x, y, 300)
process = laconic.functions.FNP(torso, references, plus=True)
loss = process.bound(x_batch, y_batch, len(others[0])).loss   # nats per example
...                                                           # process.constrain() after every step
laconic.predict(process.eval(), x_new, samples=100)
```
"""

from laconic.functions.base import Bound, FunctionPosterior
from laconic.functions.fnp import FNP, FNPSettings
from laconic.functions.gaussian_process import GaussianProcess
from laconic.functions.loss import ProcessLoss
from laconic.functions.neural_process import NP, NPSettings
from laconic.functions.references import choose_references
from laconic.functions.storage import PROCESSES, load, save

__all__ = [
    "FNP",
    "NP",
    "PROCESSES",
    "Bound",
    "FNPSettings",
    "FunctionPosterior",
    "GaussianProcess",
    "NPSettings",
    "ProcessLoss",
    "choose_references",
    "load",
    "save",
]
