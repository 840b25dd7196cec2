"""Deep ensembles: several networks, trained from different first weights, as one prediction.

Source: Lakshminarayanan, Pritzel & Blundell 2017; Louizos 4.4.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from laconic.distributions.prediction import Prediction
from laconic.errors import InputError


class Ensemble(nn.Module):
    """Networks that predict together; each counts as one draw.

    Args:
        members: classifiers with the same classes.

    Raises:
        InputError: there is no member.

    Example:
        `laconic.predict(Ensemble(nets), x).entropy`
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not len(self.members):
            raise InputError("an ensemble needs one network or more")

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of the mean probabilities, `(batch, classes)`."""
        return self.predict(x, len(self.members)).log_mean

    def logits(self, x: Tensor) -> Tensor:
        """Logits of every member, `(members, batch, classes)`."""
        return torch.stack([member(x) for member in self.members])

    def predict(self, x: Tensor, samples: int) -> Prediction:
        """The members' predictions; of `samples` members, if there are more."""
        return Prediction.from_logits(self.logits(x)[:samples])
