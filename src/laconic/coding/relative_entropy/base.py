"""The abstract base class of the relative entropy coders."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.standardise import take_config


@dataclass(frozen=True)
class Receipt:
    """The cost of one message.

    Attributes:
        ideal_bits: KL(target || prior) in bits.
        theory_bits: the algorithm's own bound or expectation for this KL, in bits.
        parts: bits written, by part ("indices", "group sizes", "outliers", ...).
        candidates: draws from the prior that were examined.
    """

    ideal_bits: float
    theory_bits: float
    parts: Mapping[str, float] = field(default_factory=dict)
    candidates: int = 0

    @property
    def bits(self) -> float:
        """All bits written."""
        return sum(self.parts.values())


class RelativeEntropyCoder(ABC):
    """Communicates one draw from `target`, exact or not, to a receiver that knows only `prior`.

    Concrete coders are frozen dataclasses of integers, so that a header can hold their settings.

    Attributes:
        id: permanent name, written into files.
        exact: whether the coded draw follows the target exactly.
        RANGES: parameters that are written into files, each with its least and greatest value.
    """

    id: ClassVar[str]
    exact: ClassVar[bool]
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {}

    @abstractmethod
    def encode(
        self, target: Normal, prior: Normal, stream: QueueEncoder, shared: SharedRandomness
    ) -> tuple[Tensor, Receipt]:
        """Write one draw; `target`, `prior` and the draw share one arbitrary shape."""

    @abstractmethod
    def decode(self, prior: Normal, stream: QueueDecoder, shared: SharedRandomness) -> Tensor:
        """Read the draw; its standardised values do not depend on rounding errors of the prior."""

    def thorough(self) -> Self:
        """The same coder at its best, however long it takes; itself where it has one way only."""
        return self

    def config(self) -> dict[str, int]:
        """The parameters that the receiver needs, as integers."""
        return {name: getattr(self, name) for name in self.RANGES}

    @classmethod
    def from_config(cls, config: Mapping[str, int]) -> Self:
        """Rebuild from `config`; raises `UnsupportedFileError` on unknown or absurd values."""
        return cls(**take_config(config, cls.RANGES))
