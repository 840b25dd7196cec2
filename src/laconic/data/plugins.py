"""Image formats that Pillow reads and writes only with another package: HEIF and JPEG XL.

These packages have GPL parts, so the core does not depend on them and contains no import of them.
This module imports a plugin by its name when a file of its format is read or written, if the user
has installed it.
"""

import importlib
from dataclasses import dataclass
from typing import Final

from laconic.errors import MissingPackageError

HEAD_BYTES: Final = 12
"""Bytes at the start of a file that show its format."""
HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
"""Major brands of HEIF files. Source: ISO/IEC 23008-12, annex B."""
EXTRA: Final = "bench"
"""The extra of Laconic's distribution that installs the plugins."""
JXL_STARTS: Final = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
"""A bare JPEG XL codestream, and one in boxes. Source: ISO/IEC 18181-2."""


@dataclass(frozen=True)
class Plugin:
    """A package that adds a format to Pillow.

    Attributes:
        label: the format's name in messages.
        package: the package's name for `pip install`.
        module: the module to import.
        function: function of the module that registers the format; empty if the import does.
        endings: endings of its files' names.
    """

    label: str
    package: str
    module: str
    function: str
    endings: tuple[str, ...]


PLUGINS: Final = {
    "heif": Plugin(
        "HEIF", "pillow-heif", "pillow_heif", "register_heif_opener", (".heic", ".heif", ".hif")
    ),
    "jxl": Plugin("JPEG XL", "pillow-jxl-plugin", "pillow_jxl", "", (".jxl",)),
}
"""The plugins by the short name of their format."""


def find_by_start(start: bytes) -> str | None:
    """The format in `PLUGINS` of a file that starts with these bytes, or None."""
    if start.startswith(JXL_STARTS):
        return "jxl"
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        return "heif"
    return None


def find_by_ending(ending: str) -> str | None:
    """The format in `PLUGINS` of files with this ending, such as ".heic"; or None."""
    return next((name for name, one in PLUGINS.items() if ending.lower() in one.endings), None)


def load_plugin(name: str) -> None:
    """Register a format of `PLUGINS` with Pillow.

    Raises:
        MissingPackageError: the package is not installed.
    """
    plugin = PLUGINS[name]
    try:
        module = importlib.import_module(plugin.module)
    except ImportError as error:
        raise MissingPackageError(f"{plugin.label} needs", plugin.package, EXTRA) from error
    if plugin.function:
        getattr(module, plugin.function)()
