"""Systems by name, with their sizes: what recipes and released weights build."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.channels.base import Channel
from laconic.channels.gaussian import NoisyChannel
from laconic.channels.systems.auxiliary import DrawDecoder
from laconic.channels.systems.bands import BandParts, BandSystem
from laconic.channels.systems.base import System, check_beta
from laconic.channels.systems.networks import (
    CodeNetwork,
    PictureDecoder,
    PictureEncoder,
    PictureSizes,
)
from laconic.channels.systems.pair import KINDS, Parts, make_pair
from laconic.channels.systems.priors import BandPrior, DrawPrior, SphericalPrior
from laconic.errors import ConfigError
from laconic.training.config import build

PRIORS = ("spherical", "draw")


@dataclass(frozen=True)
class PairConfig:
    """A separate or a joint system.

    Attributes:
        kind: "joint" or "separate".
        beta: see `System`.
        numbers: of a codeword.
        depth: see `PictureSizes`.
        blocks: see `PictureSizes`.
        hidden: see `PictureSizes`.
    """

    kind: str = "joint"
    beta: float = 0.01
    numbers: int = 100
    depth: int = 32
    blocks: int = 2
    hidden: int = 128

    def __post_init__(self) -> None:
        """Raise `ConfigError` for settings that cannot be."""
        check_beta(self.beta)
        if self.kind not in KINDS:
            raise ConfigError(f"system.kind: '{self.kind}' is not one of {', '.join(KINDS)}")

    def make(self, channel: Channel, shape: Sequence[int]) -> System:
        """The system for pictures of `shape`: channels, rows, columns."""
        sizes = _sizes(self, self.numbers, shape)
        parts = Parts(
            PictureEncoder(sizes, 2 * self.numbers),
            CodeNetwork(self.numbers, self.hidden),
            CodeNetwork(self.numbers, self.hidden),
            PictureDecoder(sizes),
        )
        return make_pair(self.kind, parts, self.numbers, channel, self.beta)


@dataclass(frozen=True)
class BandsConfig:
    """A joint system for the bandwidth-limited channel.

    Attributes:
        prior: "spherical" or "draw".
        auxiliary: maps of auxiliary latents in each step of the decoder; 0 for none.
        auxiliary_weight: nats of the code that a nat of these latents is worth in the loss.
        steps: of the decoder.
        beta: see `System`.
        bands: T.
        numbers: of a band.
        shares: P(B) for B = 0 to T; empty: all from 1 to T alike.
        marginal: whether the loss sums over all B.
        depth: see `PictureSizes`.
        blocks: see `PictureSizes`; of the decoder, in each step.
        hidden: of the prior.
    """

    prior: str = "draw"
    auxiliary: int = 0
    auxiliary_weight: float = 1.0
    steps: int = 2
    beta: float = 0.005
    bands: int = 5
    numbers: int = 20
    shares: tuple[float, ...] = ()
    marginal: bool = False
    depth: int = 32
    blocks: int = 1
    hidden: int = 128

    def __post_init__(self) -> None:
        """Raise `ConfigError` for settings that cannot be."""
        check_beta(self.beta)
        if self.prior not in PRIORS:
            raise ConfigError(f"system.prior: '{self.prior}' is not one of {', '.join(PRIORS)}")
        if not 0 < self.auxiliary_weight < float("inf"):
            raise ConfigError("system.auxiliary_weight: give a number above 0")
        if min(self.bands, self.numbers, self.steps) < 1 or self.auxiliary < 0:
            raise ConfigError("system: bands, numbers and steps are 1 or more, auxiliary 0 or more")
        if self.shares and len(self.shares) != self.bands + 1:
            raise ConfigError(f"system.shares: give {self.bands + 1} probabilities, of 0 bands too")

    def make(self, channel: Channel, shape: Sequence[int]) -> System:
        """The system for pictures of `shape`: channels, rows, columns."""
        if not isinstance(channel, NoisyChannel):
            raise ConfigError("channel.name: the system 'bands' needs a channel with noise")
        sizes = _sizes(self, self.bands * self.numbers, shape)
        parts = BandParts(
            PictureEncoder(sizes, 2 * sizes.numbers),
            DrawDecoder(sizes, self.steps, self.auxiliary),
            self._prior(channel),
        )
        shares = self.shares or (0.0, *[1 / self.bands] * self.bands)
        return BandSystem(parts, channel, shares, self.beta, self.marginal, self.auxiliary_weight)

    def _prior(self, channel: NoisyChannel) -> BandPrior:
        if self.prior == "draw":
            return DrawPrior(self.bands, self.numbers, self.hidden)
        power = 1 / channel.use.numbers + channel.noise_scale_per_number**2
        return SphericalPrior(self.bands, self.numbers, power)


SYSTEMS: dict[str, type[Any]] = {"pair": PairConfig, "bands": BandsConfig}
"""By name: the dataclass of settings, whose `make` builds the system."""


def read_system(settings: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and settings of a system from `{"name": ..., **settings}`.

    Raises:
        ConfigError: unknown name or setting, or a value that cannot be.
    """
    given = dict(settings)
    name = str(given.pop("name", None))
    if name not in SYSTEMS:
        raise ConfigError(f"system.name: '{name}' is not one of {', '.join(SYSTEMS)}")
    return name, build(SYSTEMS[name], given, "system")


def make_system(settings: Mapping[str, Any], channel: Channel, shape: Sequence[int]) -> System:
    """An untrained system.

    Args:
        settings: `{"name": ..., **settings}`.
        channel: between sender and receiver.
        shape: of a picture: channels, rows, columns.

    Raises:
        ConfigError: unknown name or setting, or a value that cannot be.
    """
    make: Callable[[Channel, Sequence[int]], System] = read_system(settings)[1].make
    return make(channel, shape)


def _sizes(config: Any, numbers: int, shape: Sequence[int]) -> PictureSizes:
    channels, rows, columns = shape
    return PictureSizes(
        channels, rows, columns, numbers, config.depth, config.blocks, config.hidden
    )
