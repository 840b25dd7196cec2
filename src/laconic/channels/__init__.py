"""Noisy channels as differentiable nodes, and systems that communicate over them.

Source: Ullrich, chapter 6 and appendix 9.4.
"""

from collections.abc import Mapping
from typing import Any

from laconic.channels.base import Channel, Received, Use, normalise_power
from laconic.channels.binary import BinaryErasure, BinarySymmetric, ErasureConfig, FlipConfig
from laconic.channels.fading import FastRayleigh, SlowRayleigh
from laconic.channels.gate import Budget
from laconic.channels.gaussian import ComplexAwgn, NoiseConfig, RealAwgn
from laconic.errors import ConfigError
from laconic.training.config import build

CHANNELS: dict[str, tuple[type[Any], type[Any]]] = {
    "awgn-real": (NoiseConfig, RealAwgn),
    "awgn": (NoiseConfig, ComplexAwgn),
    "rayleigh-slow": (NoiseConfig, SlowRayleigh),
    "rayleigh-fast": (NoiseConfig, FastRayleigh),
    "bsc": (FlipConfig, BinarySymmetric),
    "bec": (ErasureConfig, BinaryErasure),
}
"""By name: the dataclass of its settings and the class. "awgn" is per complex use."""

__all__ = [
    "CHANNELS",
    "Budget",
    "Channel",
    "Received",
    "Use",
    "make_channel",
    "normalise_power",
    "read_channel",
]


def read_channel(settings: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and settings of a channel from `{"name": ..., **settings}`.

    Raises:
        ConfigError: unknown name or setting, or a value that cannot be.
    """
    given = dict(settings)
    name = str(given.pop("name", None))
    if name not in CHANNELS:
        raise ConfigError(f"channel.name: '{name}' is not one of {', '.join(CHANNELS)}")
    return name, build(CHANNELS[name][0], given, "channel")


def make_channel(settings: Mapping[str, Any]) -> Channel:
    """A channel from `{"name": ..., **settings}`.

    Raises:
        ConfigError: unknown name or setting, or a value that cannot be.
    """
    name, config = read_channel(settings)
    channel: Channel = CHANNELS[name][1](config)
    return channel
