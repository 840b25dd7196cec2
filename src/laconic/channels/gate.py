"""The capacity gate: no digital system may claim more bits than its channel uses can carry.

Source: Ullrich 6.3 (the data can be recovered only if R(D) < C). Published tables break it: 30.7 dB
on CIFAR-10 pictures are claimed where 75 bits fit into a picture's channel uses.
"""

import math
from dataclasses import dataclass

from laconic.channels.base import Channel
from laconic.errors import ConfigError, UnreachableTargetError


@dataclass(frozen=True)
class Budget:
    """Channel uses for one image, and what they can carry.

    Attributes:
        uses: k.
        capacity_bits: C, of one use.
        unit: what a use is, for messages, e.g. "complex use".

    Raises:
        ConfigError: a number of uses or a capacity that cannot be.
    """

    uses: int
    capacity_bits: float
    unit: str = "use"

    def __post_init__(self) -> None:
        """Raise `ConfigError` where there is nothing to send with."""
        if self.uses < 1:
            raise ConfigError(f"{self.uses} channel uses carry nothing: raise the bandwidth")
        if not (math.isfinite(self.capacity_bits) and self.capacity_bits >= 0):
            raise ConfigError(f"a capacity of {self.capacity_bits} bits per {self.unit} cannot be")

    @classmethod
    def of(cls, channel: Channel, uses: int) -> "Budget":
        """The budget of so many uses of a channel."""
        return cls(uses, channel.capacity_bits, channel.use.value)

    @property
    def bits(self) -> float:
        """Most bits of one image: k C."""
        return self.uses * self.capacity_bits

    def check(self, bits: float, what: str) -> None:
        """Refuse a system that needs more.

        Args:
            bits: that `what` sends for one image.
            what: the system, for the message.

        Raises:
            UnreachableTargetError: `bits` is above k C, or no number.
        """
        if not bits <= self.bits:
            raise UnreachableTargetError(
                f"{what} sends {bits:,.0f} bits an image, but {self.uses:,} channel uses of "
                f"{self.capacity_bits:.4g} bits per {self.unit} carry {self.bits:,.0f} at most; "
                "send fewer bits, or use more bandwidth or a better channel"
            )
